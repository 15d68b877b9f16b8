"use strict";
const page = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const classes = page.classes, count = classes.length, n = page.ids.length, exclusive = page.exclusive;
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const probabilities = new Float32Array(bytes(page.probabilities).buffer);
const truth = page.targets.map((own) => new Set(own));
const thresholds = classes.map((each) => each.threshold);
const shownPlace = new Map(page.rows.map((row, place) => [row, place]));
const LINES = ["#0550ae", "#a40e26", "#116329", "#8250df", "#9a6700", "#0a6c74", "#bf3989", "#57606a"];
const fixed = (value, digits = 4) => (value === null || value === undefined || Number.isNaN(value) ? "–" : value.toFixed(digits));
let chosen = 0, predicted = [];

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}
function svg(tag, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

// What is predicted with the thresholds as they are moved, as hpa.scoring.thresholds.predict_classes does.
function decide(values) {
  const found = new Set();
  let best = 0;
  for (let own = 0; own < count; own++) {
    if (!exclusive && values[own] > thresholds[own]) found.add(own);
    if (values[own] > values[best]) best = own;
  }
  return found.size ? found : new Set([best]);
}
const valuesOf = (row) => probabilities.subarray(row * count, (row + 1) * count);
function scores(own) {
  let hits = 0, claims = 0, positives = 0;
  for (let row = 0; row < n; row++) {
    const given = truth[row].has(own), claimed = predicted[row].has(own);
    hits += given && claimed;
    claims += claimed;
    positives += given;
  }
  const f1 = claims + positives ? (2 * hits) / (claims + positives) : exclusive ? null : 0;
  return { f1, precision: claims ? hits / claims : null, recall: positives ? hits / positives : null, claims, positives };
}
function recount() {
  predicted = Array.from({ length: n }, (_, row) => decide(valuesOf(row)));
  if (exclusive) return;
  let total = 0;
  for (const line of $("perclass").tBodies[0].rows) {
    const own = Number(line.dataset.class), now = scores(own);
    total += now.f1;
    [now.f1, now.precision, now.recall].forEach((value, place) => setCell(line.cells[[2, 4, 5][place]], value, 4));
    setCell(line.cells[6], thresholds[own], 3);
  }
  $("live").textContent = fixed(total / count);
}
function setCell(cell, value, digits) {
  cell.textContent = fixed(value, digits);
  cell.dataset.v = value ?? "";
}
function outcome(row, own) {
  const given = truth[row].has(own), claimed = predicted[row].has(own);
  return given ? (claimed ? "right" : "missed") : claimed ? "added" : "";
}

// Charts: lines in a frame with axes.
function chart(target, label, series, x, y) {
  const width = 460, height = 260, left = 44, bottom = 34, top = 8, right = 18, digits = y.to - y.from < 0.1 ? 4 : 2;
  const px = (value) => left + ((value - x.from) / (x.to - x.from || 1)) * (width - left - right);
  const py = (value) => height - bottom - ((value - y.from) / (y.to - y.from || 1)) * (height - bottom - top);
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  for (let tick = 0; tick <= 5; tick++) {
    const across = x.from + ((x.to - x.from) * tick) / 5, up = y.from + ((y.to - y.from) * tick) / 5;
    drawn.append(svg("line", { x1: left, x2: width - right, y1: py(up), y2: py(up), stroke: "#eaeef2" }));
    drawn.append(svg("text", { x: left - 5, y: py(up) + 4, "text-anchor": "end" }, up.toFixed(digits)));
    drawn.append(svg("text", { x: px(across), y: height - bottom + 14, "text-anchor": "middle" }, x.whole ? String(across) : across.toFixed(2)));
  }
  drawn.append(svg("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, x.name));
  series.forEach((own) => {
    const points = own.points.map(([a, b]) => `${px(a).toFixed(1)},${py(b).toFixed(1)}`).join(" ");
    if (!own.dots) drawn.append(svg("polyline", { points, fill: "none", stroke: own.colour, "stroke-width": 2, "stroke-dasharray": own.dashes ?? "" }));
    if (own.dots || own.points.length < 40) own.points.forEach(([a, b]) => drawn.append(svg("circle", { cx: px(a), cy: py(b), r: own.dots ?? 2.5, fill: own.colour })));
  });
  const legend = el("div", { class: "controls" });
  series.filter((own) => own.name).forEach((own) => legend.append(el("label", {}, el("span", { class: "swatch", style: `background: ${own.colour}` }), own.name)));
  target.replaceChildren(drawn, legend);
}

// Sortable tables.
document.querySelectorAll("table.sortable").forEach((table) => {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, place) => head.firstChild.addEventListener("click", () => {
    const numeric = [...table.tBodies[0].rows].some((row) => row.cells[place].dataset.v !== undefined);
    const descending = head.ariaSort ? head.ariaSort === "ascending" : numeric;
    heads.forEach((each) => each.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const value = (row) => (numeric ? Number.parseFloat(row.cells[place].dataset.v ?? "") : row.cells[place].textContent);
    const rows = [...table.tBodies[0].rows].sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (!numeric) return (descending ? -1 : 1) * a.localeCompare(b, undefined, { numeric: true });
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      return descending ? b - a : a - b;
    });
    table.tBodies[0].append(...rows);
  }));
});

// Curves of the runs.
const columns = [...new Set(page.runs.flatMap((run) => Object.keys(run.curves)))].filter((name) => name !== "epoch");
columns.forEach((name) => $("column").append(el("option", {}, name)));
const favourite = columns.find((name) => /validation_(f1_best|accuracy)$/.test(name));
if (favourite) $("column").value = favourite;
function drawCurves() {
  const name = $("column").value, ticked = [...document.querySelectorAll(".curve:checked")].map((box) => page.runs[box.value]);
  const series = ticked.filter((run) => run.curves[name]?.length).map((run, place) => ({
    name: run.name, colour: LINES[place % LINES.length], points: run.curves.epoch.map((epoch, at) => [epoch, run.curves[name][at]]),
  }));
  const values = series.flatMap((own) => own.points.map((point) => point[1])), epochs = series.flatMap((own) => own.points.map((point) => point[0]));
  if (!values.length) return $("curves").replaceChildren();
  chart($("curves"), `${name} by epoch`, series, { from: 1, to: 1 + 5 * Math.max(1, Math.ceil((Math.max(...epochs) - 1) / 5)), name: "epoch", whole: true }, { from: Math.min(...values), to: Math.max(...values) });
}
$("column").addEventListener("change", drawCurves);
document.querySelectorAll(".curve").forEach((box) => box.addEventListener("change", drawCurves));

// One class: precision and recall by threshold, calibration, and what it is taken for.
function curve(own) {
  const order = Array.from({ length: n }, (_, row) => row).sort((a, b) => probabilities[b * count + own] - probabilities[a * count + own]);
  const positives = classes[own].rows, points = [];
  let hits = 0;
  order.forEach((row, place) => {
    hits += truth[row].has(own);
    const next = order[place + 1];
    if (next === undefined || probabilities[next * count + own] !== probabilities[row * count + own]) points.push([positives ? hits / positives : 0, hits / (place + 1)]);
  });
  return points;
}
function choose(own) {
  chosen = own;
  for (const line of $("perclass").tBodies[0].rows) line.classList.toggle("on", Number(line.dataset.class) === own);
  const unit = { from: 0, to: 1 };
  const bins = classes[own].reliability.map((bin) => [bin[0], bin[1]]);
  chart($("reliability"), `Reliability of ${classes[own].class}`, [{ points: [[0, 0], [1, 1]], colour: "#8c959f", dashes: "4" }, { points: bins, colour: LINES[0] }], { ...unit, name: "mean probability; line: share of positives" }, unit);
  const instead = page.mixUps[own].map((times, other) => [times, other]).filter(([times, other]) => times && other !== own).sort((a, b) => b[0] - a[0]).slice(0, 5);
  $("instead").textContent = instead.map(([times, other]) => `${classes[other].class} ${times}×`).join(", ") || "never";
  if (!exclusive) $("slider").value = thresholds[own];
  showThreshold();
}
function showThreshold() {
  const now = scores(chosen), unit = { from: 0, to: 1 }, series = [{ points: curve(chosen), colour: LINES[0] }];
  if (now.claims && now.positives) series.push({ points: [[now.recall, now.precision]], colour: LINES[1], dots: 5, name: `F1 ${fixed(now.f1)}` });
  chart($("pr"), `Precision and recall of ${classes[chosen].class}`, series, { ...unit, name: "recall; line: precision" }, unit);
  $("chosen").textContent = classes[chosen].class;
  if (!exclusive) $("at").textContent = `${fixed(thresholds[chosen], 3)}: F1 ${fixed(now.f1)}`;
}
$("perclass").tBodies[0].addEventListener("click", (event) => {
  if (event.target.closest("button")) choose(Number(event.target.closest("tr").dataset.class));
});
function move(value) {
  thresholds[chosen] = value;
  recount();
  showThreshold();
  countClasses();
  if (page.rows.length) showGallery();
}
if (!exclusive) {
  $("slider").addEventListener("input", () => move(Number($("slider").value)));
  $("reset").addEventListener("click", () => { $("slider").value = classes[chosen].threshold; move(classes[chosen].threshold); });
}
function countClasses() {
  const most = Math.max(...truth.map((own) => own.size), ...predicted.map((own) => own.size));
  const line = (name, sets) => el("tr", {}, el("th", { scope: "row" }, name), ...Array.from({ length: most }, (_, k) => el("td", { class: "n" }, String(sets.filter((own) => own.size === k + 1).length))));
  $("perrow").replaceChildren(el("tr", {}, el("th", { scope: "col" }, "classes"), ...Array.from({ length: most }, (_, k) => el("th", { scope: "col", class: "n" }, String(k + 1)))), line("given", truth), line("predicted", predicted));
}

// Tables of numbers in shades.
function shaded(table, names, values, digits) {
  const off = values.flatMap((row, one) => row.filter((_, other) => one !== other)), largest = Math.max(1e-9, ...off);
  table.append(el("thead", {}, el("tr", {}, el("td"), ...names.map((name, place) => el("th", { scope: "col", class: "n", title: name }, String(place + 1))))));
  table.append(el("tbody", {}, ...values.map((row, one) => el("tr", {}, el("th", { scope: "row" }, `${one + 1}. ${names[one]}`), ...row.map((value, other) => {
    const shade = one === other ? "#eaeef2" : `rgba(9, 105, 218, ${(0.55 * Math.max(0, value / largest)).toFixed(2)})`;
    return el("td", { class: "n", style: `background: ${shade}`, title: `${names[one]}, ${names[other]}` }, value || digits ? value.toFixed(digits) : "");
  })))));
}
shaded($("matrix"), classes.map((each) => each.class), page.mixUps, 0);
if (page.ensemble) {
  shaded($("correlation"), page.ensemble.members.map((member) => member.name), page.ensemble.correlation.map((row) => row.map((value) => value ?? 0)), 2);
  const sweep = page.ensemble.sweep;
  if (sweep?.length) {
    const line = (column, colour, dashes, name) => ({ name, colour, dashes, points: sweep.map((row) => [row[0], row[column]]) });
    chart($("sweep"), "Score by shift", [line(1, LINES[0], "", "macro F1"), line(2, LINES[7], "4", "95 % interval"), line(3, LINES[7], "4")],
      { from: sweep[0][0], to: sweep.at(-1)[0], name: "shift" }, { from: Math.min(...sweep.map((row) => row[2])), to: Math.max(...sweep.map((row) => row[3])) });
  }
}

// Images: a tile has the channels one below the other; what is shown is their sum in the channels' colours.
const paints = (page.colours ?? []).map((colour) => [1, 3, 5].map((place) => Number.parseInt(colour.slice(place, place + 2), 16) / 255));
const scratch = el("canvas").getContext("2d", { willReadFrequently: true });
const switchedOn = () => [...document.querySelectorAll("#channels input:not(#heat)")].map((box) => box.checked);
async function paint(canvas, tile, heat) {
  const picture = new Image();
  picture.src = `data:image/webp;base64,${tile}`;
  await picture.decode();
  const side = picture.width, on = switchedOn(), pixels = new ImageData(side, side), target = canvas.getContext("2d");
  scratch.canvas.width = side;
  scratch.canvas.height = picture.height;
  scratch.drawImage(picture, 0, 0);
  const grey = scratch.getImageData(0, 0, side, picture.height).data;
  for (let at = 0; at < side * side; at++) {
    for (let part = 0; part < 3; part++) {
      let sum = 0;
      for (let channel = 0; channel < paints.length; channel++) if (on[channel]) sum += grey[4 * (channel * side * side + at)] * paints[channel][part];
      pixels.data[4 * at + part] = sum;
    }
    if (heat) pixels.data.fill(0.8 * Math.max(...pixels.data.subarray(4 * at, 4 * at + 3)), 4 * at, 4 * at + 3);
    pixels.data[4 * at + 3] = 255;
  }
  canvas.width = canvas.height = side;
  target.putImageData(pixels, 0, 0);
  if (!heat) return;
  const values = new Int8Array(bytes(heat).buffer), cells = Math.sqrt(values.length), layer = new ImageData(cells, cells);
  values.forEach((value, at) => layer.data.set([...(value > 0 ? [255, 40, 20] : [40, 90, 255]), Math.abs(value) * 1.5], 4 * at));
  scratch.canvas.width = scratch.canvas.height = cells;
  scratch.putImageData(layer, 0, 0);
  target.drawImage(scratch.canvas, 0, 0, side, side);
}
// The outlines of the single cells of an image, to lie on its canvas.
function outlines(place, numbered) {
  const drawn = svg("svg", { viewBox: "0 0 100 100", "aria-hidden": "true" });
  (page.cells?.[place] ?? []).forEach((cell, number) => {
    drawn.append(svg("polygon", { points: cell.outline.map(([x, y]) => `${100 * x},${100 * y}`).join(" ") }));
    const mean = (axis) => (100 * cell.outline.reduce((sum, point) => sum + point[axis], 0)) / cell.outline.length;
    if (numbered) drawn.append(svg("text", { x: mean(0), y: mean(1) + 2, "text-anchor": "middle" }, String(number + 1)));
  });
  return drawn;
}
const heatOf = (place, own) => page.heat?.[place]?.[own];
const marks = { right: "✓", added: "+", missed: "−" };
function describe(row) {
  const found = classes.map((each, own) => [outcome(row, own), each.class]).filter(([what]) => what);
  return found.map(([what, name]) => el("span", { class: what }, `${marks[what]} ${name}`));
}
const worstClass = (row, place) => {
  const own = Object.keys(page.heat?.[place] ?? {}).map(Number);
  const error = (each) => Math.abs(truth[row].has(each) - probabilities[row * count + each]) + (outcome(row, each) === "right" ? 0 : 1);
  return own.sort((a, b) => error(b) - error(a))[0];
};
let matching = [], limit = 48;
function showGallery() {
  const own = $("byclass").value === "" ? null : Number($("byclass").value), what = $("outcome").value;
  const [from, to] = [Number($("from").value), Number($("to").value || 1)];
  const largestError = (row) => Math.max(...valuesOf(row).map((value, each) => Math.abs(truth[row].has(each) - value)));
  const score = (row) => (own === null ? 1 - largestError(row) : valuesOf(row)[own]);
  const fits = (result) => (what === "" ? result : what === "wrong" ? result === "missed" || result === "added" : result === what);
  matching = page.rows.map((row, place) => [row, place]).filter(([row, place]) => {
    if (score(row) < from || score(row) > to) return false;
    if (what === "copies") return page.copies[place].length && (own === null || truth[row].has(own));
    if (own !== null) return fits(outcome(row, own));
    const results = classes.map((_, each) => outcome(row, each)).filter(Boolean);
    return what === "right" ? results.every((each) => each === "right") : results.some(fits);
  });
  if ($("order").value === "best") matching.reverse();
  if ($("order").value === "id") matching.sort((a, b) => page.ids[a[0]].localeCompare(page.ids[b[0]], undefined, { numeric: true }));
  $("count").textContent = `${matching.length} images`;
  $("more").hidden = matching.length <= limit;
  $("gallery").replaceChildren(...matching.slice(0, limit).map(([row, place]) => {
    const canvas = el("canvas", { width: 1, height: 1, "aria-hidden": "true" });
    paint(canvas, page.tiles[place], $("heat").checked && heatOf(place, own ?? worstClass(row, place)));
    const stack = el("div", { class: "stack" }, canvas, ...($("cells")?.checked ? [outlines(place)] : []));
    return el("button", { type: "button", class: "tile", onclick: () => openRow(row) }, stack, el("span", {}, page.ids[row]), ...describe(row));
  }));
}
let walked = [], at = 0;  // the images that previous and next go through, and which of them is shown
function open(place) {
  at = (place + walked.length) % walked.length;
  const [row, tile] = walked[at];
  $("title").textContent = page.ids[row];
  const heats = Object.keys(page.heat?.[tile] ?? {});
  $("heatclass").replaceChildren(el("option", { value: "" }, heats.length ? "none" : "none for this image"), ...heats.map((own) => el("option", { value: own }, classes[own].class)));
  if ($("heat").checked && heats.length) $("heatclass").value = worstClass(row, tile);
  showLarge();
  const rank = (own) => probabilities[row * count + own] + (outcome(row, own) ? 1 : 0);
  const order = classes.map((_, own) => own).sort((a, b) => rank(b) - rank(a));
  $("bars").replaceChildren(...order.map((own) => {
    const value = probabilities[row * count + own], what = outcome(row, own), bar = el("div", { class: "bar" }, el("i", { style: `width: ${100 * value}%` }));
    if (!exclusive) bar.append(el("u", { style: `left: ${100 * thresholds[own]}%`, title: `threshold ${fixed(thresholds[own], 3)}` }));
    return el("tr", {}, el("td", { class: what || "soft" }, `${marks[what] ?? ""} ${classes[own].class}`), el("td", { class: "n" }, fixed(value, 3)), el("td", {}, bar));
  }));
  const others = (id, title, found) => {
    $(`${id}title`).textContent = found.length ? title : "";
    $(id).replaceChildren(...found.map((each) => {
      const canvas = el("canvas", { width: 1, height: 1, "aria-hidden": "true" }), own = page.rows.findIndex((place) => page.ids[place] === each.id);
      const shown = page.others?.[each.id] ?? page.tiles[own], given = each.classes || [...truth[page.rows[own]]].map((label) => classes[label].class).join(" | ");
      if (shown) paint(canvas, shown);
      return el("figure", {}, ...(shown ? [canvas] : []), el("figcaption", {}, `${each.id}: ${given}${each.cosine === undefined ? "" : ` (cosine ${fixed(each.cosine, 3)})`}`));
    }));
  };
  others("similar", `Most similar of ${page.compared} training images`, page.similar?.[tile] ?? []);
  others("copies", "Copies", page.copies?.[tile] ?? []);
  const cells = page.cells?.[tile] ?? [];
  $("cellstitle").textContent = cells.length ? "Single cells" : "";
  $("celltable").replaceChildren(...cells.map((cell, number) => {
    const names = [...decide(cell.probabilities)].map((own) => `${classes[own].class} ${fixed(cell.probabilities[own], 2)}`);
    return el("tr", {}, el("th", { scope: "row" }, String(number + 1)), el("td", {}, names.join(", ")));
  }));
  if (!$("dialog").open) $("dialog").showModal();
}
function showLarge() {
  const tile = walked[at][1];
  paint($("large"), page.tiles[tile], $("heatclass").value === "" ? null : heatOf(tile, $("heatclass").value));
  $("large").parentElement.replaceChildren($("large"), ...($("largecells")?.checked ? [outlines(tile, true)] : []));
}
function openRow(row) {
  if (!shownPlace.has(row)) return;
  const isMatching = matching.some(([each]) => each === row);
  walked = isMatching ? matching : page.rows.map((each, tile) => [each, tile]);
  open(walked.findIndex(([each]) => each === row));
}
for (const id of ["heatclass", "largecells"]) $(id)?.addEventListener("change", showLarge);
$("close").addEventListener("click", () => $("dialog").close());
$("previous").addEventListener("click", () => open(at - 1));
$("next").addEventListener("click", () => open(at + 1));
$("dialog").addEventListener("keydown", (event) => {
  if (event.target.tagName !== "SELECT" && event.key === "ArrowLeft") open(at - 1);
  if (event.target.tagName !== "SELECT" && event.key === "ArrowRight") open(at + 1);
});
if (page.rows.length) {
  $("byclass").append(el("option", { value: "" }, "any"), ...classes.map((each, own) => el("option", { value: own }, each.class)));
  for (const id of ["byclass", "outcome", "order", "from", "to"]) $(id).addEventListener("input", () => { limit = 48; showGallery(); });
  $("channels").addEventListener("change", showGallery);
  $("more").addEventListener("click", () => { limit += 96; showGallery(); });
}

// The map.
const hue = (own) => `hsl(${(own * 137.5) % 360} 65% 40%)`;
function drawMap() {
  const by = $("colouring").value, byClass = by === "class", isRight = (row) => classes.every((_, own) => ["", "right"].includes(outcome(row, own)));
  $("points").replaceChildren(...page.rows.map((row, place) => {
    const colour = byClass ? hue([...truth[row]][0] ?? 0) : by === "fold" ? LINES[page.folds[row] % LINES.length] : isRight(row) ? "#54aeff" : "#a40e26";
    return svg("circle", { cx: 100 * page.xy[place][0], cy: 80 * (1 - page.xy[place][1]), r: page.rows.length > 600 ? 0.6 : 1, fill: colour, "data-place": place });
  }));
  const folds = [...new Set(page.folds)].sort((a, b) => a - b).map((fold) => [LINES[fold % LINES.length], `fold ${fold}`]);
  const entries = byClass ? classes.map((each, own) => [hue(own), each.class]) : by === "fold" ? folds : [["#54aeff", "right"], ["#a40e26", "wrong"]];
  $("legend").replaceChildren(el("span", { class: "controls" }, ...entries.map(([colour, name]) => el("label", {}, el("span", { class: "swatch", style: `background: ${colour}` }), name))));
}
if (page.rows.length) {
  let current = -1;
  const sideways = page.rows.map((_, place) => place).sort((a, b) => page.xy[a][0] - page.xy[b][0]);
  const preview = (place) => {
    const canvas = el("canvas", { width: 1, height: 1, "aria-hidden": "true" }), row = page.rows[place];
    $("points").querySelectorAll("[stroke]").forEach((point) => point.removeAttribute("stroke"));
    const point = $("points").children[place];
    point.setAttribute("stroke", "#000");
    point.setAttribute("stroke-width", "0.6");
    current = place;
    paint(canvas, page.tiles[place]);
    $("preview").replaceChildren(canvas, el("div", {}, page.ids[row]), ...describe(row).flatMap((span) => [span, el("br")]));
  };
  $("points").addEventListener("mousemove", (event) => {  // a page that scrolls under a mouse at rest is no choice
    const place = event.target.dataset.place;
    if (place && Number(place) !== current && (event.movementX || event.movementY)) preview(Number(place));
  });
  $("points").addEventListener("click", (event) => event.target.dataset.place && openRow(page.rows[event.target.dataset.place]));
  $("points").addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], from = sideways.indexOf(current);
    if (step || event.key === "Enter") event.preventDefault();  // Enter would press the dialog's first button, too
    if (step) preview(sideways[(from + step + sideways.length) % sideways.length]);
    if (event.key === "Enter" && current >= 0) openRow(page.rows[current]);
  });
  $("colouring").addEventListener("change", drawMap);
}

// Labels to look at again.
page.labels.forEach((label) => {
  const name = classes[label.class].class, value = probabilities[label.row * count + label.class], given = label.given ? value : 1 - value;
  const better = label.better === undefined ? (label.given ? `not ${name}` : name) : classes[label.better].class;
  const sample = shownPlace.has(label.row) ? el("button", { type: "button", class: "link", onclick: () => openRow(label.row) }, page.ids[label.row]) : page.ids[label.row];
  $("doubtful").tBodies[0].append(el("tr", {}, el("td", {}, sample), el("td", {}, label.given ? name : `not ${name}`), el("td", {}, better), el("td", { class: "n", "data-v": given }, fixed(given, 3)), el("td", { class: "n", "data-v": label.margin }, fixed(label.margin, 3))));
});

recount();
countClasses();
drawCurves();
choose(0);
if (page.rows.length) { showGallery(); drawMap(); }
