"use strict";
// One picture: nodes as lanes, time to the right. The wheel enlarges, dragging moves, pointing explains.
const SVG = "http://www.w3.org/2000/svg";
const clock = us => (us / 1e6).toFixed(us % 1e6 ? 3 : 0) + " s";
const el = (tag, attrs, ...kids) => {
  const node = document.createElement(tag);
  Object.entries(attrs || {}).forEach(([k, v]) => k === "onclick" ? node.addEventListener("click", v) : node.setAttribute(k, v));
  node.append(...kids);
  return node;
};
const shape = (tag, attrs, says) => {
  const node = document.createElementNS(SVG, tag);
  for (const k in attrs) node.setAttribute(k, attrs[k]);
  if (says) node.dataset.says = says;
  return node;
};
const TERMS = ["#2457c5", "#1a7f37", "#8a3ffc", "#b26a00", "#0a7d86", "#b0306a"];

function draw(p, host) {
  const LANE = 34, TOP = 46, LEFT = 120, WIDTH = 1400, RIGHT = 16;
  const faultRows = [...new Set(p.faults.map(f => f[0]))].sort();
  const opsTop = TOP + p.nodes.length * LANE + 14 + faultRows.length * 14 + 12;
  const clients = 1 + p.operations.reduce((most, o) => Math.max(most, o[2]), 0);
  const opRow = Math.max(2, Math.min(8, 240 / clients));
  const height = opsTop + clients * opRow + 20;
  const y = new Map(p.nodes.map((n, i) => [n[0], TOP + i * LANE + LANE / 2]));
  let view = [0, Math.max(p.end, 1)];
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": `${p.scenario}, seed ${p.seed}` });
  const note = el("div", { class: "note" }, "Point at anything. The wheel enlarges, dragging moves.");
  const x = t => LEFT + (t - view[0]) / (view[1] - view[0]) * (WIDTH - LEFT - RIGHT);
  const seen = (a, b) => b >= view[0] && a <= view[1];
  const text = (px, py, words, attrs) => { const t = shape("text", { x: px, y: py, fill: "currentColor", "font-size": 11, ...attrs }); t.textContent = words; return t; };
  const bar = (a, b, py, h, fill, opacity, says) => {
    const left = Math.max(x(a), LEFT), right = Math.min(x(b), WIDTH - RIGHT);
    return shape("rect", { x: left, y: py, width: Math.max(right - left, 1.5), height: h, fill, opacity }, says);
  };

  function axis(into) {
    const span = view[1] - view[0];
    const step = [1, 2, 5].flatMap(m => [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8].map(b => m * b)).sort((a, b) => a - b).find(s => span / s <= 12) || span;
    for (let t = Math.ceil(view[0] / step) * step; t <= view[1]; t += step) {
      into.append(shape("line", { x1: x(t), x2: x(t), y1: TOP - 8, y2: height - 16, stroke: "var(--line)" }), text(x(t) + 3, TOP - 12, clock(t), { fill: "var(--dim)" }));
    }
    if (seen(p.heal, p.end)) into.append(bar(p.heal, p.end, TOP - 6, p.nodes.length * LANE + 6, "var(--good)", .06, `peace from ${clock(p.heal)} on`), text(Math.max(x(p.heal), LEFT) + 3, TOP - 26, "healed", { fill: "var(--good)" }));
  }
  function lanes(into) {
    p.nodes.forEach(([id, region]) => {
      const py = y.get(id);
      into.append(shape("rect", { x: LEFT, y: py - 9, width: WIDTH - LEFT - RIGHT, height: 18, fill: "var(--lane)" }), text(6, py + 4, `n${id}  ${region}`));
      const lives = p.lives.filter(l => l[1] === id);
      let down = [0, "not booted"], paused = null;
      const gap = (from, to, why, fill) => {
        if (!seen(from, to)) return;
        into.append(bar(from, to, py - 9, 18, fill, .8, `n${id} ${why}, ${clock(from)} to ${clock(to)}`));
        const left = Math.max(x(from), LEFT);
        if (Math.min(x(to), WIDTH - RIGHT) - left > why.length * 6 + 8) into.append(text(left + 4, py + 3, why, { fill: "#fff", "font-size": 9, "pointer-events": "none" }));
      };
      lives.forEach(([t, , what, why]) => {
        if (what === "up") { if (down) gap(down[0], t, down[1], "var(--dim)"); down = null; }
        if (what === "down" && !down) down = [t, "down: " + why];
        if (what === "refused" && seen(t, t)) into.append(text(x(t), py + 4, "✕", { fill: "var(--bad)", "data-says": `n${id} refused to boot at ${clock(t)}: ${why}` }));
        if (what === "paused") paused = t;
        if (what === "resumed" && paused !== null) { gap(paused, t, "stands still", "var(--warn)"); paused = null; }
      });
      if (down) gap(down[0], p.end, down[1], "var(--dim)");
      if (paused !== null) gap(paused, p.end, "stands still", "var(--warn)");
    });
  }
  function leaders(into) {
    p.leaders.forEach(([t, id, term], i) => {
      const until = i + 1 < p.leaders.length ? p.leaders[i + 1][0] : p.end;
      if (!seen(t, until) || !y.has(id)) return;
      const fill = TERMS[term % TERMS.length];
      into.append(bar(t, until, y.get(id) - 5, 10, fill, .75, `n${id} leads in term ${term} from ${clock(t)}`));
      if (x(until) - x(t) > 46) into.append(text(Math.max(x(t), LEFT) + 4, y.get(id) + 4, `term ${term}`, { fill: "#fff", "font-size": 9, "pointer-events": "none" }));
    });
  }
  function faults(into) {
    p.faults.forEach(([kind, from, until, nodes, says]) => {
      if (!seen(from, until)) return;
      const row = TOP + p.nodes.length * LANE + 8 + faultRows.indexOf(kind) * 14;
      into.append(bar(from, until, row, 9, "var(--bad)", .55, says));
      const room = Math.min(x(until), WIDTH - RIGHT) - Math.max(x(from), LEFT), who = nodes.map(n => "n" + n).join(" ");
      if (room > who.length * 6 + 6) into.append(text(Math.max(x(from), LEFT) + 3, row + 8, who, { "font-size": 8, "pointer-events": "none" }));
      nodes.filter(n => y.has(n)).forEach(n => into.append(bar(from, until, y.get(n) + 10, 3, "var(--bad)", .8, says)));
    });
    faultRows.forEach((kind, i) => into.append(text(6, TOP + p.nodes.length * LANE + 16 + i * 14, kind, { fill: "var(--dim)", "font-size": 10 })));
  }
  function messages(into) {
    const shown = p.messages.filter(m => seen(m[0], m[2]));
    const step = Math.max(1, Math.floor(shown.length / 2500));
    shown.forEach(([sent, from, at, to, lane, lost], i) => {
      if (i % step || !y.has(from) || !y.has(to)) return;
      const stroke = lost ? "var(--bad)" : ["var(--accent)", "var(--fg)", "var(--warn)"][lane];
      into.append(shape("line", { x1: x(sent), y1: y.get(from), x2: x(at), y2: y.get(to), stroke, opacity: lost ? .8 : .35, "stroke-dasharray": lost ? "3 3" : "none" },
        `n${from} to n${to}, sent ${clock(sent)}, ${lost ? "lost" : "arrived"} ${clock(at)}, ${["control", "data", "bulk"][lane]}`));
    });
    if (seen(...p.window)) into.append(text(Math.max(x(p.window[0]), LEFT), TOP - 30, p.messages.length ? "messages shown from here" : "", { fill: "var(--dim)", "font-size": 10 }));
  }
  function marks(into) {
    p.marks.filter(m => seen(m[0], m[0])).forEach(([t, id, says]) => {
      if (y.has(id)) into.append(shape("circle", { cx: x(t), cy: y.get(id) - 11, r: 2.6, fill: /corrupt|fail|stopped|lost|fault/.test(says) ? "var(--bad)" : "var(--accent)" }, `${clock(t)} n${id} ${says}`));
    });
  }
  function operations(into) {
    into.append(text(6, opsTop + 10, `${clients} clients`, { fill: "var(--dim)", "font-size": 10 }));
    const colour = { ok: "var(--good)", fail: "var(--dim)", unknown: "var(--bad)", open: "var(--warn)" };
    const shows = new Set(p.witnesses || []);
    p.operations.forEach(([from, until, client, what, how], i) => {
      if (!seen(from, until)) return;
      const says = `${shows.has(i) ? "WITNESS: " : ""}client ${client} ${what}: ${how}, ${clock(from)} to ${clock(until)} (${((until - from) / 1e3).toFixed(1)} ms)`;
      const it = bar(from, until, opsTop + client * opRow, Math.max(opRow - 1, 1), colour[how], how === "ok" ? .7 : 1, says);
      into.append(it);
      if (!shows.has(i)) return;
      const left = Math.max(x(from), LEFT), right = Math.min(x(until), WIDTH - RIGHT);
      into.append(shape("rect", { x: left - 3, y: opsTop + client * opRow - 3, width: Math.max(right - left, 1.5) + 6, height: Math.max(opRow - 1, 1) + 6, fill: "none", stroke: "var(--bad)", "stroke-width": 1.5, rx: 2 }, says));
    });
  }
  function verdict(into) {
    if (!p.violation || !seen(p.violation[0], p.violation[0])) return;
    const [t, name, detail] = p.violation;
    into.append(shape("line", { x1: x(t), x2: x(t), y1: 14, y2: height - 12, stroke: "var(--bad)", "stroke-width": 2 }, `${name}: ${detail}`), text(Math.min(x(t) + 5, WIDTH - 220), 22, name, { fill: "var(--bad)", "font-weight": 700 }));
  }
  function paint() {
    const all = document.createDocumentFragment();
    [axis, lanes, leaders, faults, messages, operations, marks, verdict].forEach(part => part(all));
    svg.replaceChildren(all);
  }
  const clampView = (a, b) => {
    const span = Math.min(Math.max(b - a, 200), p.end || 1);
    const from = Math.min(Math.max(a, 0), Math.max((p.end || 1) - span, 0));
    view = [from, from + span];
    paint();
  };
  const at = e => { const r = svg.getBoundingClientRect(); return view[0] + ((e.clientX - r.left) / r.width * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT) * (view[1] - view[0]); };
  svg.addEventListener("wheel", e => { e.preventDefault(); const f = e.deltaY > 0 ? 1.3 : 1 / 1.3, t = at(e); clampView(t - (t - view[0]) * f, t + (view[1] - t) * f); }, { passive: false });
  let drag = null;
  svg.addEventListener("pointerdown", e => { drag = [e.clientX, ...view]; svg.setPointerCapture(e.pointerId); });
  svg.addEventListener("pointerup", () => { drag = null; });
  svg.addEventListener("pointermove", e => {
    if (drag) { const by = (drag[0] - e.clientX) / svg.getBoundingClientRect().width * WIDTH / (WIDTH - LEFT - RIGHT) * (drag[2] - drag[1]); clampView(drag[1] + by, drag[2] + by); return; }
    note.textContent = e.target.dataset && e.target.dataset.says || clock(Math.max(at(e), 0));
  });
  const zoom = (words, a, b) => el("button", { onclick: () => clampView(a, b) }, words);
  const key = el("span", { class: "key dim" });
  [["leader", TERMS[0]], ["down", "var(--dim)"], ["paused", "var(--warn)"], ["fault", "var(--bad)"], ["success", "var(--good)"]].forEach(([words, c]) => key.append(el("i", { style: `background:${c}` }), words));
  const title = el("h3", {}, `${p.scenario}, seed ${p.seed}`);
  const says = p.violation ? el("pre", { class: "bad" }, `${p.violation[1]} at ${clock(p.violation[0])}\n${p.violation[2]}`) : el("p", { class: "good" }, "nothing broke");
  const bars = el("div", { class: "bar" }, zoom("whole run", 0, p.end), zoom("messages", p.window[0], p.window[1]), zoom("last second of them", p.window[1] - 1e6, p.window[1]), key);
  // A short run is seen whole; a long one is opened where it broke.
  if (p.violation && p.end > 15e6) view = [Math.max(p.window[0], 0), Math.max(p.window[1], p.window[0] + 1000)];
  host.append(el("div", { class: "picture" }, title, says, bars, svg, note));
  paint();
}
const pictures = JSON.parse(document.getElementById("data").textContent);
const host = document.getElementById("pictures");
if (pictures.length) host.append(el("h2", {}, "Pictures"));
pictures.forEach(p => draw(p, host));
