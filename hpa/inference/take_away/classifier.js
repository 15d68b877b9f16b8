// The page: files in, a card for each sample out. Decoding and resizing are in decode.js.

const about = JSON.parse(document.getElementById("about").textContent);
const byId = (id) => document.getElementById(id);
const make = (name, own = {}, ...children) => { const node = Object.assign(document.createElement(name), own); node.append(...children); return node; };
const samples = new Map(), waiting = new Map();
let session, ort, work = Promise.resolve();

// What lies in the page compressed by gzip, as base64.
const packed = (id) => inflate(Uint8Array.from(atob(byId(id).textContent.trim()), (letter) => letter.charCodeAt(0)), "gzip");

async function start() {
  const address = URL.createObjectURL(new Blob([await packed("runtime")], { type: "text/javascript" }));
  ort = await import(address);
  ort.env.wasm.numThreads = 1; // several need headers that only a server can send
  ort.env.wasm.wasmBinary = (await packed("wasm")).buffer;
  session = await ort.InferenceSession.create(await packed("model"), { executionProviders: ["wasm"] });
  byId("files").disabled = false;
  say("Ready.");
}

const say = (words) => { byId("status").textContent = words; };
const fault = (words) => { byId("faults").append(make("li", { textContent: words })); };

// Sort files into samples by the ends of their names, and classify those that are whole; files of others wait.
async function take(files) {
  byId("faults").replaceChildren();
  const whole = [];
  for (const file of [...files].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const stem = file.name.replace(/\.[^.]*$/, "");
    const suffix = about.suffixes.filter((each) => stem.endsWith(each)).sort((a, b) => b.length - a.length)[0];
    if (suffix === undefined) { whole.push([stem, [file], true]); continue; }
    const id = stem.slice(0, stem.length - suffix.length);
    const own = waiting.get(id) ?? new Map();
    waiting.set(id, own.set(suffix, file));
    if (own.size === about.suffixes.length) { whole.push([id, about.suffixes.map((each) => own.get(each))]); waiting.delete(id); }
  }
  for (const [number, [id, own, together]] of whole.entries()) {
    say(`Sample ${number + 1} of ${whole.length} ...`);
    try {
      samples.set(id, await classify(own, together));
      show(id);
    } catch (error) {
      fault(`${id}: ${error.message}`);
    }
  }
  for (const [id, own] of waiting) fault(`${id}: waits for ${about.suffixes.filter((each) => !own.has(each)).map((each) => id + each).join(", ")}`);
  say(`${samples.size} sample${samples.size === 1 ? "" : "s"}.`);
  byId("save").disabled = byId("clear").disabled = !samples.size && !waiting.size;
}

async function classify(files, together) {
  const channels = together ? await channelsOf(files[0]) : await Promise.all(files.map((file) => named(file, async () => onlyChannel(await decode(file)))));
  const sizes = channels.map(({ width, height }) => `${width}x${height}`);
  if (new Set(sizes).size > 1) throw Error(`the channels differ in size: ${sizes.join(", ")}`);
  const { size } = about, count = channels.length, image = new Uint8Array(size * size * count);
  for (const [channel, own] of channels.entries()) {
    const data = await named(files[channel] ?? files[0], () => inEightBits(own.data, about.intensity_range?.[channel]));
    resize(seen({ ...own, data }, about.reading.fit), size).forEach((value, pixel) => { image[pixel * count + channel] = value; });
  }
  const given = { [session.inputNames[0]]: new ort.Tensor("uint8", image, [1, size, size, count]) };
  const probabilities = [...(await session.run(given))[session.outputNames[0]].data];
  const chosen = about.classes.map((_, each) => each).filter((each) => probabilities[each] > about.thresholds[each]);
  return { image, probabilities, chosen: chosen.length ? chosen : [probabilities.indexOf(Math.max(...probabilities))] };
}

async function channelsOf(file) {
  const { width, height, planes, alpha } = await named(file, () => decode(file));
  if (planes.length !== about.channels.length || planes.length === 1) throw Error(`${file.name} ends in none of ${about.suffixes.join(", ")}, and has ${planes.length} channels, not the ${about.channels.length} of ${about.channels.join(", ")}`);
  const opaque = planes[0] instanceof Uint16Array ? 65535 : 255;
  if (alpha && planes.at(-1).every((number) => number === opaque)) throw Error(`${file.name} is a colour picture without transparency; its last channel should be ${about.channels.at(-1)}`);
  return planes.map((data) => ({ width, height, data }));
}

// What a file's error says, with its name.
async function named(file, work) {
  try {
    return await work();
  } catch (error) {
    throw Error(`${file.name} ${error.message}`);
  }
}

function show(id) {
  const { image, probabilities, chosen } = samples.get(id);
  const order = about.classes.map((_, each) => each).sort((a, b) => probabilities[b] - probabilities[a]);
  const rows = order.map((each) => {
    const limit = about.thresholds[each], on = chosen.includes(each);
    const bar = make("div", { className: "bar" }, make("i", { style: `width: ${100 * probabilities[each]}%` }), ...(about.single ? [] : [make("u", { style: `left: ${100 * limit}%` })]));
    const cells = [make("td", { textContent: probabilities[each].toFixed(4) }), ...(about.single ? [] : [make("td", { textContent: limit.toFixed(3) })]), make("td", {}, bar)];
    return make("tr", { className: on ? "on" : "" }, make("th", { scope: "row", textContent: about.classes[each] }), ...cells);
  });
  const heads = ["class", "probability", ...(about.single ? [] : ["threshold"]), "from 0 to 1"].map((each) => make("th", { scope: "col", textContent: each }));
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
  const scroll = make("div", { className: "scroll", tabIndex: 0, ariaLabel: `Probabilities of ${id}` }, table);
  scroll.setAttribute("role", "region");
  const words = make("p", { className: "classes", textContent: chosen.map((each) => about.classes[each]).join(", ") });
  const card = make("article", { id: `sample ${id}` }, painted(image, id), make("div", {}, make("h2", { textContent: id }), words, scroll));
  const before = byId(`sample ${id}`);
  before ? before.replaceWith(card) : byId("samples").append(card);
}

// The image as the network takes it, in the colours of the channels, with stretched contrast.
function painted(image, id) {
  const { size, colours } = about, canvas = make("canvas", { width: size, height: size, ariaLabel: `Image ${id}` });
  canvas.setAttribute("role", "img");
  const context = canvas.getContext("2d"), picture = context.createImageData(size, size), sums = new Float32Array(3 * size * size);
  colours.forEach((colour, channel) => {
    const values = Float32Array.from({ length: size * size }, (_, pixel) => image[pixel * colours.length + channel]), sorted = values.slice().sort();
    const [low, high] = [0.002, 0.998].map((share) => sorted[Math.floor(share * (sorted.length - 1))]), [from, span] = high - low < 4 ? [0, 255] : [low, high - low];
    const paint = [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16));
    values.forEach((value, pixel) => paint.forEach((part, k) => { sums[3 * pixel + k] += part * Math.min(Math.max((value - from) / span, 0), 1); }));
  });
  for (let pixel = 0; pixel < size * size; pixel++) picture.data.set([sums[3 * pixel], sums[3 * pixel + 1], sums[3 * pixel + 2], 255], 4 * pixel);
  context.putImageData(picture, 0, 0);
  return canvas;
}

// The table that hpa predict writes.
function csv() {
  const quoted = (value) => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const lines = [...samples].map(([id, { chosen, probabilities }]) => [id, chosen.map((each) => about.classes[each]).join(" | "), ...probabilities.map((each) => each.toFixed(4))]);
  return [["Id", "Predicted", ...about.classes], ...lines].map((line) => `${line.map(quoted).join(",")}\n`).join("");
}

const next = (files) => { work = work.then(() => take(files)); };
byId("files").addEventListener("change", (event) => { next([...event.target.files]); event.target.value = ""; });
byId("clear").addEventListener("click", () => { samples.clear(); waiting.clear(); byId("samples").replaceChildren(); next([]); });
byId("save").addEventListener("click", () => make("a", { href: URL.createObjectURL(new Blob([csv()], { type: "text/csv" })), download: "predicted.csv" }).click());
for (const kind of ["dragenter", "dragover", "dragleave", "drop"])
  addEventListener(kind, (event) => { event.preventDefault(); byId("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover"); });
addEventListener("drop", (event) => session && next([...event.dataTransfer.files]));
start().catch((error) => say(`This browser cannot run the network (${error.message}); take a newer one.`));
