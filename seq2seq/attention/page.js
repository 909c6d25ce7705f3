"use strict";
// Draws the page from its data. Text of a sentence is only ever set as textContent.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const MAX_CELL = 24, MIN_CELL = 5, LABELLED = 11, MAX_FONT = 13;

// What is chosen: numbers of layers and heads count from 1, and 0 is their mean.
const chosen = { sentence: 0, kind: data.start.kind, layer: data.start.layer, head: data.start.head, query: 0, key: -1 };

// Data ------------------------------------------------------------------------------------------

const decoded = new Map();

function bytes(text) {
  if (!decoded.has(text)) decoded.set(text, Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));
  return decoded.get(text);
}

const sentence = () => data.sentences[chosen.sentence];
const sizes = () => data.kinds[chosen.kind];
const queries = () => (chosen.kind === "encoder" ? sentence().src : sentence().written);
const keys = () => (chosen.kind === "decoder" ? sentence().read : sentence().src);

let latest = { of: "", weights: null };

/** The weights of the chosen map. */
function chosenWeights() {
  const of = [chosen.sentence, chosen.kind, chosen.layer, chosen.head].join();
  if (latest.of !== of) latest = { of, weights: weights(chosen.layer, chosen.head) };
  return latest.weights;
}

/** The weights of a map, row by row; the mean over layers or heads where a number is 0. */
function weights(layer, head) {
  const { layers, heads } = sizes();
  const size = queries().length * keys().length;
  const stored = bytes(sentence().maps[chosen.kind]);
  const sum = new Float64Array(size);
  let n = 0;
  for (let l = layer || 1; l <= (layer || layers); l++) {
    for (let h = head || 1; h <= (head || heads); h++, n++) {
      const start = ((l - 1) * heads + h - 1) * size;
      for (let i = 0; i < size; i++) sum[i] += (stored[start + i] / 255) ** 2;  // stored as 255 times the root
    }
  }
  return sum.map((total) => total / n);
}

const row = (all, query) => all.subarray(query * keys().length, (query + 1) * keys().length);

function best(values, n) {
  return [...values.keys()].sort((a, b) => values[b] - values[a]).slice(0, n);
}

const places = (n, of, noun) => (n ? `${noun} ${n}` : of === 1 ? `${noun} 1` : `mean of ${of} ${noun}s`);
const name = (layer, head) => `${places(layer, sizes().layers, "layer")}, ${places(head, sizes().heads, "head")}`;

/** A piece inside a sentence, which its direction does not turn around. */
const isolated = (piece) => `\u2068${piece}\u2069`;

// Elements --------------------------------------------------------------------------------------

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function table(caption, columns, rows) {
  const made = element("table", null);
  made.append(element("caption", caption));
  const head = made.createTHead().insertRow();
  for (const column of columns) head.append(element("th", column, { scope: "col" }));
  const body = made.createTBody();
  for (const [first, ...cells] of rows) {
    const line = body.insertRow();
    line.append(element("th", first, { scope: "row" }));
    for (const cell of cells) line.insertCell().textContent = cell;
  }
  return made;
}

/** A table that is made when it is opened: it may have thousands of cells. */
function fill(id, make) {
  const details = $(id);
  const show = () => details.open && details.lastElementChild.replaceChildren(make());
  details.ontoggle = show;
  show();
}

function radios(id, labels, values) {
  const fieldset = $(id);
  if (!(values.includes(chosen[id]))) chosen[id] = values[0];
  fieldset.querySelectorAll("label").forEach((old) => old.remove());
  labels.forEach((text, i) => {
    const label = element("label", null), input = element("input", null, { type: "radio", name: id });
    input.checked = values[i] === chosen[id];
    input.onchange = () => { chosen[id] = values[i]; update(id === "kind"); };
    label.append(input, element("span", text));
    fieldset.append(label);
  });
}

const counted = (n) => Array.from({ length: n }, (_, i) => i + 1);
const choices = (n) => (n === 1 ? [["1"], [1]] : [["mean", ...counted(n).map(String)], [0, ...counted(n)]]);

// Drawing ---------------------------------------------------------------------------------------

const style = (property) => getComputedStyle(document.documentElement).getPropertyValue(property).trim();

/** A picture of one pixel for each value from -1 to 1; what is negative has another colour. */
function pixels(values, width) {
  const ink = style("--ink").split(",").map(Number), negative = style("--negative").split(",").map(Number);
  const made = element("canvas", null);
  made.width = width;
  made.height = values.length / width;
  const image = made.getContext("2d").createImageData(made.width, made.height);
  values.forEach((value, i) => {
    image.data.set(value < 0 ? negative : ink, 4 * i);
    image.data[4 * i + 3] = Math.round(255 * Math.min(1, Math.abs(value)) ** 0.7);  // small ones stay visible
  });
  made.getContext("2d").putImageData(image, 0, 0);
  return made;
}

function sized(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.imageSmoothingEnabled = false;
  return context;
}

/** The piece as it fits into a number of pixels. */
function short(context, text, room) {
  const letters = [...text];
  while (letters.length > 1 && context.measureText(letters.join("") + "…").width > room) letters.pop();
  return letters.length === [...text].length || context.measureText(text).width <= room ? text : letters.join("") + "…";
}

const layout = { left: 0, top: 0, cell: 0 };

/** Pixels for the names of rows or columns. */
function labelRoom(canvas, pieces, most) {
  const context = canvas.getContext("2d");
  context.font = `${MAX_FONT}px system-ui, sans-serif`;
  return Math.ceil(Math.min(most, Math.max(...pieces.map((piece) => context.measureText(piece).width)) + 10));
}

function drawMap() {
  const canvas = $("map"), room = canvas.parentElement.clientWidth - 12;
  const rows = queries(), columns = keys(), all = chosenWeights();
  const left = labelRoom(canvas, rows, room / 3), top = labelRoom(canvas, columns, 160);
  let cell = Math.min(MAX_CELL, Math.floor((room - left) / columns.length));
  const labelled = cell >= LABELLED;
  if (!labelled) cell = Math.max(MIN_CELL, Math.min(16, Math.floor(room / columns.length)));
  Object.assign(layout, { left: labelled ? left : 1, top: labelled ? top : 1, cell });
  const width = layout.left + columns.length * cell + 1, height = layout.top + rows.length * cell + 1;
  const context = sized(canvas, width, height);
  context.drawImage(pixels(all, columns.length), layout.left, layout.top, columns.length * cell, rows.length * cell);
  context.strokeStyle = style("--line");
  context.strokeRect(layout.left, layout.top, columns.length * cell, rows.length * cell);
  if (labelled) drawLabels(context, rows, columns);
  context.strokeStyle = style("--chosen");
  context.lineWidth = 2;
  context.strokeRect(layout.left, layout.top + chosen.query * cell, columns.length * cell, cell);
  if (chosen.key >= 0) {
    context.strokeRect(layout.left + chosen.key * cell, layout.top + chosen.query * cell, cell, cell);
  }
  canvas.setAttribute("aria-label", `${data.names[chosen.kind]}, ${name(chosen.layer, chosen.head)}: ${says(all)} ` +
    "Up and down choose a row, left and right a column. The table below has all weights.");
}

function drawLabels(context, rows, columns) {
  const { left, top, cell } = layout;
  context.font = `${Math.min(MAX_FONT, cell - 1)}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  rows.forEach((piece, i) => {
    context.fillStyle = style(i === chosen.query ? "--chosen" : "--text");
    context.textAlign = "right";
    context.fillText(short(context, piece, left - 8), left - 5, top + (i + 0.5) * cell);
  });
  columns.forEach((piece, i) => {
    context.save();
    context.fillStyle = style(i === chosen.key ? "--chosen" : "--text");
    context.translate(left + (i + 0.5) * cell, top - 5);
    context.rotate(-Math.PI / 2);
    context.textAlign = "left";
    context.fillText(short(context, piece, top - 8), 0, 0);
    context.restore();
  });
}

/** What the chosen piece looks at, in words. */
function says(all) {
  const values = row(all, chosen.query), piece = isolated(queries()[chosen.query]);
  const most = best(values, 3).filter((i) => values[i] >= 0.01);
  const looks = most.map((i) => `${isolated(keys()[i])} ${values[i].toFixed(2)}`).join(", ");
  return `${chosen.kind === "encoder" ? "" : "While it writes "}${piece}${chosen.kind === "encoder" ? " looks" : ", the model looks"} at ${looks}.`;
}

function drawPieces() {
  const all = chosenWeights(), values = row(all, chosen.query);
  const ofKind = { encoder: ["Source pieces", "Source pieces"], cross: ["Pieces that are written", "Source pieces"],
    decoder: ["Pieces that are written", "Pieces that are read before"] }[chosen.kind];
  $("queries-name").textContent = `${ofKind[0]} (point at one, or choose it)`;
  $("keys-name").textContent = `${ofKind[1]}: the stronger the colour, the more they are looked at`;
  [...$("queries").children].forEach((button, i) => {
    button.setAttribute("aria-pressed", String(i === chosen.query));
    button.tabIndex = i === chosen.query ? 0 : -1;
  });
  const strongest = Math.max(...values, 1e-9);
  $("keys").replaceChildren(...keys().map((piece, i) => {
    const span = element("span", null);
    span.append(element("bdi", piece));
    span.style.backgroundColor = `rgba(${style("--ink")}, ${(0.45 * values[i] / strongest).toFixed(3)})`;
    if (values[i] >= 0.05) span.append(element("small", values[i].toFixed(2)));
    return span;
  }));
  const cell = chosen.key < 0 ? "" : ` ${isolated(keys()[chosen.key])} gets ${values[chosen.key].toFixed(3)}.`;
  $("status").textContent = `${data.names[chosen.kind]}, ${name(chosen.layer, chosen.head)}. ${says(all)}${cell}`;
}

function makePieces() {
  $("queries").replaceChildren(...queries().map((piece, i) => {
    const button = element("button", piece, { type: "button" });
    button.onmouseenter = button.onclick = () => choose(i, -1);
    button.onfocus = () => i === chosen.query || choose(i, -1);
    return button;
  }));
}

function makeHeads() {
  const { layers, heads } = sizes(), width = keys().length, height = queries().length;
  const scale = Math.max(1, Math.min(6, Math.floor(110 / Math.max(width, height))));
  $("heads").replaceChildren(...counted(layers).map((layer) => {
    const line = element("div", null, { role: "group", "aria-label": `layer ${layer}` });
    line.append(...counted(heads).map((head) => {
      const button = element("button", null, { type: "button" }), picture = pixels(weights(layer, head), width);
      picture.style.width = `${width * scale}px`;
      picture.style.height = `${height * scale}px`;
      button.append(picture, element("span", `layer ${layer}, head ${head}`));
      button.onclick = () => { chosen.layer = layer; chosen.head = head; update(true); };
      return button;
    }));
    return line;
  }));
}

function markHeads() {
  const { layers, heads } = sizes();
  [...$("heads").querySelectorAll("button")].forEach((button, i) => {
    const layer = Math.floor(i / heads) + 1, head = i % heads + 1;
    button.setAttribute("aria-pressed", String((layers === 1 || chosen.layer === layer) && (heads === 1 || chosen.head === head)));
  });
}

// Tables ----------------------------------------------------------------------------------------

function fillTables() {
  fill("map-table", () => {
    const all = chosenWeights();
    const rows = queries().map((piece, i) => [piece, ...Array.from(row(all, i), (weight) => weight.toFixed(2))]);
    return table(`${data.names[chosen.kind]}, ${name(chosen.layer, chosen.head)}`, ["", ...keys()], rows);
  });
  fill("heads-table", () => {
    const { layers, heads } = sizes(), rows = [];
    for (const layer of counted(layers)) {
      for (const head of counted(heads)) {
        const values = row(weights(layer, head), chosen.query);
        rows.push([`layer ${layer}, head ${head}`, ...best(values, 3).map((i) => `${isolated(keys()[i])} ${values[i].toFixed(2)}`)]);
      }
    }
    return table(`What ${isolated(queries()[chosen.query])} looks at`, ["", "most", "second", "third"], rows);
  });
}

// One head, step by step ------------------------------------------------------------------------

/** Numbers of 32 bits, some for each piece. */
function vectors(text, width) {
  const all = new Float32Array(bytes(text).slice().buffer);
  return counted(all.length / width).map((n) => all.subarray((n - 1) * width, n * width));
}

const few = (vector) => `(${Array.from(vector.subarray(0, 4), (v) => v.toFixed(2)).join(", ")}${vector.length > 4 ? ", …" : ""})`;

function drawSteps() {
  const numbers = sentence().numbers, section = $("steps-section");
  section.hidden = !numbers || numbers.kind !== chosen.kind;
  if (section.hidden) return;
  const { layer, head, width } = numbers;
  const query = vectors(numbers.queries, width)[chosen.query];
  const seen = chosen.kind === "decoder" ? chosen.query + 1 : keys().length;  // masked: nothing to the right
  const ofKeys = vectors(numbers.keys, width).slice(0, seen), values = vectors(numbers.values, width);
  const scores = ofKeys.map((key) => key.reduce((sum, number, i) => sum + number * query[i], 0));
  const largest = Math.max(...scores), exponentials = scores.map((score) => Math.exp(score - largest));
  const total = exponentials.reduce((a, b) => a + b, 0), shares = exponentials.map((value) => value / total);
  const sum = new Float32Array(width);
  shares.forEach((share, i) => values[i].forEach((value, k) => { sum[k] += share * value; }));
  $("steps-about").textContent = `Layer ${layer}, head ${head}, with its real numbers. The query of ` +
    `${isolated(queries()[chosen.query])} is ${width} numbers: ${few(query)}. Its score with a key is the sum of the products of their ` +
    "numbers. Softmax: exp of each score, divided by the sum of all, is the weight. (The largest score is subtracted first; " +
    "the weights are the same.) The values, times their weights, are added up; with the sums of the other heads they go on.";
  const rows = ofKeys.map((key, i) => [keys()[i], few(key), scores[i].toFixed(2), exponentials[i].toFixed(3), shares[i].toFixed(3), few(values[i])]);
  rows.push(["sum", "", "", total.toFixed(3), "1.000", few(sum)]);
  const columns = ["", "key", "query · key", "exp(score − largest)", "weight", "value"];
  $("steps").replaceChildren(table(`Layer ${layer}, head ${head}, query ${isolated(queries()[chosen.query])}`, columns, rows));
}

// Positions -------------------------------------------------------------------------------------

function positionValues() {
  const { values, scale } = data.positions;
  return Float64Array.from(bytes(values), (byte) => (byte / 127 - 1) * scale);
}

function drawPositions() {
  const { name: kind, rows, columns, scale } = data.positions, canvas = $("positions");
  $("positions-about").textContent = data.positions.about;
  if (!rows) {
    canvas.parentElement.hidden = $("positions-table").hidden = true;
    return;
  }
  const width = Math.max(columns, Math.min(canvas.parentElement.clientWidth - 12, 3 * columns));
  const tall = Math.max(2, Math.min(6, Math.floor(360 / rows)));
  const context = sized(canvas, width, rows * tall);
  context.drawImage(pixels(positionValues().map((value) => value / scale), columns), 0, 0, width, rows * tall);
  canvas.setAttribute("aria-label", `${kind} positions: ${rows} positions from top to bottom, ${columns} channels from left to right`);
  fill("positions-table", () => {
    const shown = Math.min(columns, 16), values = positionValues();
    const lines = counted(rows).map((n) => [String(n), ...Array.from(values.subarray((n - 1) * columns, (n - 1) * columns + shown), (v) => v.toFixed(2))]);
    return table(`The first ${shown} of ${columns} channels`, ["position", ...counted(shown).map(String)], lines);
  });
}

// Choosing --------------------------------------------------------------------------------------

function choose(query, key) {
  chosen.query = Math.max(0, Math.min(queries().length - 1, query));
  chosen.key = Math.max(-1, Math.min(keys().length - 1, key));
  drawPieces();
  drawMap();
  drawSteps();
  fillTables();
}

/** Draw everything; with new controls and pieces if the kind or the sentence has changed. */
function update(isNew) {
  if (isNew) {
    radios("kind", Object.keys(data.kinds).map((kind) => data.names[kind]), Object.keys(data.kinds));
    radios("layer", ...choices(sizes().layers));
    radios("head", ...choices(sizes().heads));
    makePieces();
    makeHeads();
  }
  markHeads();
  choose(chosen.query, -1);
}

function cellAt(event) {
  const box = $("map").getBoundingClientRect();
  const column = Math.floor((event.clientX - box.left - layout.left) / layout.cell);
  const line = Math.floor((event.clientY - box.top - layout.top) / layout.cell);
  return [line, column];
}

$("map").onpointermove = $("map").onpointerdown = (event) => {
  const [line, column] = cellAt(event);
  const isInside = line >= 0 && column >= 0 && line < queries().length && column < keys().length;
  if (isInside && (line !== chosen.query || column !== chosen.key)) choose(line, column);
};
$("map").onkeydown = (event) => {
  const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!move) return;
  event.preventDefault();
  choose(chosen.query + move[0], Math.max(0, chosen.key + move[1]));
};
$("queries").onkeydown = (event) => {
  const last = queries().length - 1;
  const to = { ArrowLeft: chosen.query - 1, ArrowRight: chosen.query + 1, Home: 0, End: last }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  choose(to, -1);
  $("queries").children[chosen.query].focus();
};
$("controls").onsubmit = (event) => event.preventDefault();

const redraw = () => { makeHeads(); markHeads(); drawPositions(); choose(chosen.query, chosen.key); };
window.onresize = redraw;
window.onbeforeprint = window.onafterprint = redraw;
matchMedia("(prefers-color-scheme: dark)").onchange = redraw;
matchMedia("print").onchange = redraw;

$("about").textContent = data.about;
data.sentences.forEach((one, i) => {
  $("sentence").append(element("option", `${i + 1}. ${one.text}`));
});
$("sentences").hidden = data.sentences.length < 2;
$("sentence").onchange = () => { chosen.sentence = $("sentence").selectedIndex; chosen.query = 0; update(true); };
update(true);
drawPositions();
document.documentElement.dataset.drawn = "true";
