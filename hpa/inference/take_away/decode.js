// Files become channels as hpa.data.decoding reads them: every number as it was saved, or an error that says why not.
// A browser's own decoder is asked for JPEG and BMP alone: it multiplies colours by alpha and cuts 16 bits to 8.

const CRC = Uint32Array.from({ length: 256 }, (_, n) => { for (let k = 8; k--; ) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1; return n; });
const crc = (bytes) => ~bytes.reduce((sum, byte) => CRC[(sum ^ byte) & 255] ^ (sum >>> 8), -1) >>> 0;
const text = (bytes) => String.fromCharCode(...bytes);

async function inflate(bytes, format = "deflate") {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Returns {width, height, planes, alpha}: planes are Uint8Array or Uint16Array, the last `alpha` of them are opacity.
async function decode(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const start = text(bytes.subarray(0, 4));
  const read = { "\x89PNG": png, "II*\0": tiff, "MM\0*": tiff, "\xff\xd8\xff": picture, BM: picture };
  const kind = Object.keys(read).find((mark) => start.startsWith(mark));
  if (!kind) throw Error(/^(II\+|MM\0\+)/.test(start) ? "is a BigTIFF; save it as a TIFF" : "is no PNG, TIFF, BMP or JPEG");
  try {
    return await read[kind](bytes);
  } catch (error) {
    throw error.told ? error : Error("is truncated, damaged or not an image; fetch it again");
  }
}

const refuse = (reason) => { throw Object.assign(Error(reason), { told: true }); };

async function picture(bytes) {
  const bitmap = await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none", imageOrientation: "none" });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return { width, height, planes: split(data, 4).slice(0, 3), alpha: 0 };
}

// Numbers of several channels in turn -> one array for each.
function split(data, count) {
  const planes = Array.from({ length: count }, () => new data.constructor(data.length / count));
  planes.forEach((plane, channel) => { for (let k = 0; k < plane.length; k++) plane[k] = data[k * count + channel]; });
  return planes;
}

// Bytes of rows, each row on whole bytes -> its numbers of 1 to 16 bits.
function numbers(bytes, perRow, rows, bits, little = false) {
  const data = bits === 16 ? new Uint16Array(perRow * rows) : new Uint8Array(perRow * rows);
  const stride = Math.ceil((perRow * bits) / 8);
  if (bytes.length < stride * rows) throw Error("short");
  for (let row = 0, k = 0; row < rows; row++)
    for (let column = 0, at = row * stride; column < perRow; column++, k++)
      if (bits === 8) data[k] = bytes[at + column];
      else if (bits === 16) data[k] = little ? bytes[at + 2 * column] | (bytes[at + 2 * column + 1] << 8) : (bytes[at + 2 * column] << 8) | bytes[at + 2 * column + 1];
      else data[k] = (bytes[at + ((column * bits) >> 3)] >> (8 - bits - ((column * bits) & 7))) & ((1 << bits) - 1);
  return data;
}

const PASSES = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]]; // of Adam7

async function png(bytes) {
  const view = new DataView(bytes.buffer);
  const pieces = [];
  let palette, kind;
  for (let at = 8; kind !== "IEND"; at += view.getUint32(at) + 12) {
    const end = at + 8 + view.getUint32(at);
    kind = text(bytes.subarray(at + 4, at + 8));
    if (crc(bytes.subarray(at + 4, end)) !== view.getUint32(end)) throw Error("damaged");
    if (kind === "PLTE") palette = bytes.subarray(at + 8, end);
    if (kind === "IDAT") pieces.push(bytes.subarray(at + 8, end));
    if (kind === "acTL" && view.getUint32(at + 8) > 1) refuse(`holds ${view.getUint32(at + 8)} frames of an animation; save each as a file`);
  }
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const [bits, colour, interlaced] = [bytes[24], bytes[25], bytes[28]];
  const count = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }[colour];
  const raw = await inflate(await new Blob(pieces).arrayBuffer());
  let data = bits === 16 ? new Uint16Array(width * height * count) : new Uint8Array(width * height * count);
  let at = 0;
  for (const [left, top, right, down] of interlaced ? PASSES : [[0, 0, 1, 1]]) {
    const columns = Math.ceil((width - left) / right), rows = Math.ceil((height - top) / down);
    if (columns <= 0 || rows <= 0) continue;
    const stride = Math.ceil((columns * count * bits) / 8);
    const own = numbers(unfiltered(raw, at, stride, rows, Math.ceil((count * bits) / 8)), columns * count, rows, bits);
    at += rows * (stride + 1);
    for (let row = 0, k = 0; row < rows; row++)
      for (let column = 0; column < columns; column++)
        for (let channel = 0; channel < count; channel++, k++)
          data[((top + row * down) * width + left + column * right) * count + channel] = own[k];
  }
  if (at !== raw.length) throw Error("another length");
  if (colour === 3) return { width, height, planes: [0, 1, 2].map((channel) => data.map((entry) => palette[3 * entry + channel])), alpha: 0 };
  if (bits < 8) data = data.map((number) => (number * 255) / (2 ** bits - 1));
  return { width, height, planes: split(data, count), alpha: colour & 4 ? 1 : 0 };
}

function unfiltered(raw, at, stride, rows, step) {
  const out = new Uint8Array(stride * rows);
  for (let row = 0; row < rows; row++) {
    const filter = raw[at++];
    if (!(filter <= 4)) throw Error("damaged");
    for (let k = 0, to = row * stride; k < stride; k++, to++, at++) {
      const a = k >= step ? out[to - step] : 0, b = row ? out[to - stride] : 0, c = row && k >= step ? out[to - stride - step] : 0;
      const [pa, pb, pc] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
      out[to] = raw[at] + [0, a, b, (a + b) >> 1, pa <= pb && pa <= pc ? a : pb <= pc ? b : c][filter];
    }
  }
  return out;
}

const SIZES = { 1: 1, 2: 1, 3: 2, 4: 4 }; // bytes of a TIFF's types

async function tiff(bytes) {
  const view = new DataView(bytes.buffer);
  const little = bytes[0] === 0x49;
  const pages = [];
  for (let at = view.getUint32(4, little), seen = new Set(); at && !seen.has(at); ) {
    seen.add(at);
    const tags = {}, count = view.getUint16(at, little);
    for (let entry = at + 2; entry < at + 2 + 12 * count; entry += 12) {
      const [tag, type, length] = [view.getUint16(entry, little), view.getUint16(entry + 2, little), view.getUint32(entry + 4, little)];
      const size = SIZES[type], start = size * length > 4 ? view.getUint32(entry + 8, little) : entry + 8;
      const read = { 1: view.getUint8, 2: view.getUint8, 3: view.getUint16, 4: view.getUint32 }[type];
      if (size) tags[tag] = Array.from({ length }, (_, k) => read.call(view, start + k * size, little));
    }
    if (!((tags[254]?.[0] ?? 0) & 5)) pages.push(tags); // no smaller copy, no mask
    at = view.getUint32(at + 2 + 12 * count, little);
  }
  const images = Number(/^images=(\d+)/m.exec(text(pages[0]?.[270] ?? []))?.[1] ?? 1); // ImageJ has large stacks in one page
  if (images > pages.length) refuse(`holds ${images} images in one page; save each as a page of its own`);
  const found = [];
  for (const tags of pages) found.push(await page(bytes, tags, little));
  const { width, height } = found[0];
  if (found.length === 1) return found[0];
  if (found.some((each) => each.planes.length > 1 || each.width !== width || each.height !== height)) refuse(`holds ${found.length} pages of several channels or sizes; save each as a file`);
  return { width, height, planes: found.map((each) => each.planes[0]), alpha: 0, pages: true };
}

async function page(bytes, tags, little) {
  const one = (tag, otherwise) => tags[tag]?.[0] ?? otherwise;
  const [width, height, count, bits, codec, photometric] = [one(256), one(257), one(277, 1), one(258, 1), one(259, 1), one(262)];
  const unpack = { 1: (piece) => piece, 5: lzw, 8: inflate, 32946: inflate, 32773: packbits }[codec];
  if (!unpack) refuse(`is a TIFF of codec ${codec}, which is not read here; save it uncompressed, or as PNG`);
  if (![8, 16].includes(bits) || tags[258].some((each) => each !== bits) || (tags[339] ?? []).some((each) => each !== 1)) refuse("holds other numbers than 8 or 16 bits without a sign; save it with these");
  if (![0, 1, 2].includes(photometric) || one(266, 1) !== 1) refuse(`is a TIFF of colours ${photometric}; save each channel as grey`);
  const planar = one(284, 1) === 2, tiled = 322 in tags, together = planar ? 1 : count;
  const [across, down] = tiled ? [one(322), one(323)] : [width, Math.min(one(278, height), height)];
  const [offsets, lengths] = tiled ? [tags[324], tags[325]] : [tags[273], tags[279]];
  const [columns, rows] = [Math.ceil(width / across), Math.ceil(height / down)];
  const planes = Array.from({ length: count }, () => (bits === 16 ? new Uint16Array(width * height) : new Uint8Array(width * height)));
  if (offsets.length < columns * rows * (planar ? count : 1)) throw Error("short");
  for (let piece = 0; piece < columns * rows * (planar ? count : 1); piece++) {
    const [left, top] = [(piece % columns) * across, (Math.floor(piece / columns) % rows) * down];
    const high = tiled ? down : Math.min(down, height - top);
    if (!lengths[piece] || offsets[piece] + lengths[piece] > bytes.length) throw Error("short");
    const data = numbers(await unpack(bytes.subarray(offsets[piece], offsets[piece] + lengths[piece])), across * together, high, bits, little);
    if (one(317, 1) === 2) for (let k = 0; k < data.length; k++) if (k % (across * together) >= together) data[k] += data[k - together];
    const first = planar ? Math.floor(piece / (columns * rows)) : 0;
    for (let row = 0; row < Math.min(high, height - top); row++)
      for (let column = 0; column < Math.min(across, width - left); column++)
        for (let channel = 0; channel < together; channel++)
          planes[first + channel][(top + row) * width + left + column] = data[(row * across + column) * together + channel];
  }
  if (photometric === 0) for (const plane of planes) plane.forEach((number, k) => { plane[k] = 2 ** bits - 1 - number; });
  return { width, height, planes, alpha: (tags[338] ?? []).filter((kind) => kind === 1 || kind === 2).length };
}

function packbits(bytes) {
  const out = [];
  for (let at = 0; at < bytes.length; ) {
    const head = (bytes[at++] << 24) >> 24;
    if (head >= 0) out.push(...bytes.subarray(at, (at += head + 1)));
    else if (head > -128) { out.push(...Array(1 - head).fill(bytes[at])); at++; }
  }
  return Uint8Array.from(out);
}

function lzw(bytes) {
  const out = [];
  let table = [], width = 9, before = null, at = 0;
  const reset = () => { table = Array.from({ length: 258 }, (_, n) => [n]); width = 9; before = null; };
  for (reset(); ; ) {
    if (at + width > 8 * bytes.length) throw Error("short");
    let code = 0;
    for (let bit = 0; bit < width; bit++, at++) code = (code << 1) | ((bytes[at >> 3] >> (7 - (at & 7))) & 1);
    if (code === 257) return Uint8Array.from(out);
    if (code === 256) { reset(); continue; }
    if (before && code > table.length) throw Error("damaged");
    const own = table[code] ?? [...before, before[0]];
    for (const byte of own) out.push(byte);
    if (before) table.push([...before, own[0]]);
    before = own;
    width = Math.min(12, Math.floor(Math.log2(table.length + 1)) + 1);
  }
}

// The grey channel of a file that stands for one: its only filled colour, or any if all are equal; alpha counts for nothing.
function onlyChannel({ width, height, planes, alpha, pages }) {
  const colours = pages ? planes : planes.slice(0, Math.min(planes.length - alpha, 4)).slice(0, 3);
  if (pages || planes.length - alpha > 4) refuse(`holds ${planes.length} channels; save each as a file`);
  const filled = colours.filter((plane) => plane.some((number) => number));
  if (filled.some((plane) => plane.some((number, k) => number !== filled[0][k]))) refuse(`is a colour image with ${filled.length} filled channels; save the one channel as grey`);
  return { width, height, data: filled[0] ?? colours[0] };
}

// Numbers of 16 bits -> 8, with the ends of their interval as 0 and 255; 8 bits stay.
function inEightBits(data, interval) {
  const wide = data instanceof Uint16Array;
  if (wide && !interval) refuse("has 16 bits, but the network learned from 8 here; save it with 8 bits");
  if (!wide && interval) refuse(`has 8 bits, but the network learned from ${interval.join(":")} of 16 here; save it with 16 bits`);
  if (!wide) return data;
  const [low, high] = interval;
  const scale = Uint8Array.from({ length: 65536 }, (_, number) => even(Math.min(Math.max((number - low) / (high - low), 0), 1) * 255));
  return Uint8Array.from(data, (number) => scale[number]);
}

const even = (value) => { const low = Math.floor(value), rest = value - low; return rest > 0.5 || (rest === 0.5 && low & 1) ? low + 1 : low; };

// What of an image the network sees: all, or its middle square, with zeros where it is smaller.
function seen({ data, width, height }, fit) {
  const side = fit === "pad" ? Math.max(width, height) : fit === "crop" ? Math.min(width, height) : 0;
  if (!side) return { data, width, height };
  const [left, top] = [width, height].map((length) => Math.trunc((length - side) / 2)), out = new Uint8Array(side * side);
  for (let row = Math.max(top, 0); row < Math.min(top + side, height); row++)
    for (let column = Math.max(left, 0); column < Math.min(left + side, width); column++)
      out[(row - top) * side + column - left] = data[row * width + column];
  return { data: out, width: side, height: side };
}

// As OpenCV: by area averaging where the image shrinks, else bilinearly. In 32 bits, as it does, to the same numbers.
function resize({ data, width, height }, size) {
  const shrinks = Math.min(width, height) >= size, area = (width * height) / size ** 2;
  const [columns, rows] = [width, height].map((side) => (shrinks ? areas : neighbours)(side, size));
  const whole = width % size === 0 && height % size === 0;
  const mean = (sum) => (whole ? (area === 4 ? Math.floor(sum + 0.5) : even(Math.fround(Math.round(sum * area) * Math.fround(1 / area)))) : even(sum));
  const across = new Float32Array(height * size), out = new Uint8Array(size * size);
  for (let row = 0; row < height; row++) columns.forEach((cells, to) => { for (const [from, share] of cells) across[row * size + to] += Math.fround(share * data[row * width + from]); });
  rows.forEach((cells, to) => {
    for (let column = 0; column < size; column++) {
      let sum = shrinks ? 0 : 2;
      for (const [from, share] of cells) sum = shrinks ? Math.fround(sum + Math.fround(share * across[from * size + column])) : sum + ((share * (across[from * size + column] >> 4)) >> 16);
      out[to * size + column] = shrinks ? mean(sum) : sum >> 2;
    }
  });
  return out;
}

// For each new pixel the old ones that it covers, and their shares.
const areas = (from, to) => Array.from({ length: to }, (_, pixel) => {
  const scale = from / to, start = pixel * scale, end = Math.min(start + scale, from), first = Math.floor(start + 1e-3);
  return Array.from({ length: Math.ceil(end - 1e-3) - first }, (_, k) => [first + k, Math.fround((Math.min(first + k + 1, end) - Math.max(first + k, start)) / (end - start))]);
});

// For each new pixel the two old ones that its middle lies between, with OpenCV's shares of 2048.
const neighbours = (from, to) => Array.from({ length: to }, (_, pixel) => {
  const middle = ((pixel + 0.5) * from) / to - 0.5, first = Math.floor(middle), share = (middle - first) * 2048;
  const inside = (place) => Math.min(Math.max(place, 0), from - 1);
  return [[inside(first), even(2048 - share)], [inside(first + 1), even(share)]];
});
