"use strict";
// What is known of a run, and its picture: nodes as lanes grouped by region, time to the right.
// Times are microseconds of the run. What lies behind the moment shown is veiled, not forgotten.

const ROW = 16;
const TERMS = ["#3566d6", "#1c8a4c", "#8a4fe0", "#b0640a", "#0d808a", "#b8407a"];
const LANES = ["control", "data", "bulk"];
const LATENCIES = [[1e3, "1 ms"], [1e4, "10 ms"], [1e5, "100 ms"], [1e6, "1 s"], [1e7, "10 s"]];
const MESSAGES_MAX = 5000;
const clock = us => (us / 1e6).toFixed(us % 1000 ? 6 : 3) + " s";
const span = us => us >= 1e6 ? (us / 1e6).toFixed(us >= 1e7 ? 1 : 2) + " s" : us >= 1e3 ? (us / 1e3).toFixed(us >= 1e4 ? 0 : 1) + " ms" : Math.round(us) + " µs";

// Rows of messages in the order of arrival, in blocks as they came.
class Messages {
  constructor() { this.blocks = []; this.count = 0; this.longest = 0; }
  add(buffer) {
    const rows = buffer.byteLength / ROW;
    if (!rows) return;
    const words = new Uint32Array(buffer), halves = new Uint16Array(buffer), bytes = new Uint8Array(buffer);
    for (let i = 0; i < rows; i++) this.longest = Math.max(this.longest, words[i * 4 + 1] - words[i * 4]);
    this.blocks.push({ first: this.count, rows, words, halves, bytes, from: words[1], to: words[(rows - 1) * 4 + 1] });
    this.count += rows;
  }
  // Calls `each(sent, from, arrived, to, lane, lost, bytes)` for those in a window, every nth if
  // there are too many; returns how many there are.
  within(a, b, most, each) {
    const parts = [];
    let total = 0;
    for (const block of this.blocks) {
      if (block.to < a || block.from > b + this.longest) continue;
      const first = Messages.bound(block, a), last = Messages.bound(block, b + this.longest + 1);
      if (last > first) { parts.push([block, first, last]); total += last - first; }
    }
    const step = Math.max(1, Math.ceil(total / most));
    for (const [{ first: base, words, halves, bytes }, first, last] of parts) {
      for (let i = first + (step - (base + first) % step) % step; i < last; i += step) {
        if (words[i * 4] > b) continue;
        each(words[i * 4], halves[i * 8 + 4], words[i * 4 + 1], halves[i * 8 + 5], bytes[i * 16 + 12], bytes[i * 16 + 13], halves[i * 8 + 7]);
      }
    }
    return { total, step };
  }
  static bound({ rows, words }, at) {
    let low = 0, high = rows;
    while (low < high) { const mid = (low + high) >> 1; if (words[mid * 4 + 1] < at) low = mid + 1; else high = mid; }
    return low;
  }
}

class Timeline {
  constructor(opened) {
    this.opened = opened;
    this.regions = [...new Set(opened.nodes.map(n => n.region))];
    // Lanes stand together by region; rows of messages name places in the plan's list.
    this.lanes = this.regions.flatMap(r => opened.nodes.map((n, place) => ({ ...n, place })).filter(n => n.region === r));
    this.laneOf = new Map(this.lanes.map((n, i) => [n.id, i]));
    this.laneOfPlace = [];
    this.lanes.forEach((n, i) => { this.laneOfPlace[n.place] = i; });
    this.messages = new Messages();
    this.lives = new Map(opened.nodes.map(n => [n.id, []]));
    [this.leaders, this.marks, this.faults, this.operations, this.violation] = [[], [], [], [], null];
    this.end = opened.expected;
    this.furthest = 0;
    this.ended = false;
  }
  add(told, rows) {
    this.messages.add(rows);
    const r = told.rows;
    if (r) {
      r.lives.forEach(([at, id, what, why]) => this.lives.get(id)?.push([at, what, why]));
      this.leaders.push(...r.leaders);
      this.marks.push(...r.marks);
      r.operations.forEach(o => { this.operations[o[0]] = o; });
    }
    if (told.faults) this.faults = told.faults;
    if (told.violation) this.violation = told.violation;
    this.furthest = Math.max(this.furthest, told.now ?? 0);
    if (told.over) { this.end = this.furthest; this.ended = true; } else if (!this.ended) this.end = Math.max(this.end, this.furthest);
  }
  // Stretches of a node's life that are not simply up: from, until, kind, why.
  gaps(id) {
    const out = [];
    let down = [0, "not booted yet"], paused = null;
    for (const [at, what, why] of this.lives.get(id) ?? []) {
      if (what === "up") { if (down) out.push([down[0], at, "down", down[1]]); down = null; }
      else if (what === "down") { if (!down) down = [at, "down: " + why]; if (paused !== null) { out.push([paused, at, "paused", "stands still"]); paused = null; } }
      else if (what === "paused") paused = at;
      else if (what === "resumed" && paused !== null) { out.push([paused, at, "paused", "stands still"]); paused = null; }
    }
    if (down) out.push([down[0], Infinity, "down", down[1]]);
    if (paused !== null) out.push([paused, Infinity, "paused", "stands still"]);
    return out;
  }
  // Who led when: until the next leader, or until its process ended.
  reigns() {
    return this.leaders.map(([from, id, term], i) => {
      const next = this.leaders[i + 1]?.[0] ?? Infinity;
      const gone = (this.lives.get(id) ?? []).find(([at, what]) => at > from && what === "down")?.[0] ?? Infinity;
      return { from, until: Math.min(next, gone), id, term };
    });
  }
}

// Paints a timeline on a canvas, and knows what lies where.
class Picture {
  constructor(canvas, overview) {
    [this.canvas, this.overview, this.hits, this.now, this.timeline, this.view] = [canvas, overview, [], 0, null, [0, 1]];
  }
  get left() { return 118; }
  x(t) { return this.left + (t - this.view[0]) / (this.view[1] - this.view[0]) * (this.width - this.left - 10); }
  at(px) { return this.view[0] + (px - this.left) / (this.width - this.left - 10) * (this.view[1] - this.view[0]); }
  colours() {
    const style = getComputedStyle(document.documentElement);
    return Object.fromEntries(["bg", "card", "fg", "dim", "line", "lane", "grid", "accent", "good", "bad", "warn", "data", "shade", "veil"].map(n => [n, style.getPropertyValue("--" + n).trim()]));
  }
  layout() {
    const t = this.timeline, lane = t.lanes.length > 16 ? 16 : t.lanes.length > 9 ? 24 : 34;
    let y = 34;
    this.y = [];
    this.heads = [];
    for (const region of t.regions) {
      this.heads.push([region, y + 4]);
      y += 16;
      for (const n of t.lanes) if (n.region === region) { this.y.push(y + lane / 2); y += lane; }
      y += 6;
    }
    this.lane = lane;
    this.kinds = [...new Set(t.faults.map(f => f[0]))].sort();
    this.faultsAt = y + 6;
    this.opsAt = this.faultsAt + (this.kinds.length ? this.kinds.length * 13 + 12 : 0);
    this.opsHeight = 104;
    this.height = this.opsAt + this.opsHeight + 22;
  }
  size(canvas, height) {
    const width = canvas.parentElement.clientWidth, scale = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
      canvas.style.height = height + "px";
    }
    const g = canvas.getContext("2d");
    g.setTransform(scale, 0, 0, scale, 0, 0);
    g.clearRect(0, 0, width, height);
    this.width = width;
    return g;
  }
  paint() {
    if (!this.timeline) return;
    this.layout();
    const g = this.g = this.size(this.canvas, this.height);
    this.c = this.colours();
    this.hits = [];
    g.textBaseline = "middle";
    this.axis();
    this.back();
    g.save();
    g.beginPath();
    g.rect(this.left, 0, this.width - this.left, this.height);
    g.clip();
    this.linkFaults();
    this.paintMessages();
    this.reigns();
    this.lifeGaps();
    this.nodeFaults();
    this.paintMarks();
    this.latencies();
    this.moment();
    g.restore();
    this.names();
    this.paintOverview();
  }
  seen(a, b) { return b >= this.view[0] && a <= this.view[1]; }
  text(px, py, words, colour, font = "11px system-ui, sans-serif") { this.g.font = font; this.g.fillStyle = colour; this.g.fillText(words, px, py); }
  bar(a, b, y, h, fill, says, alpha = 1) {
    const from = Math.max(this.x(a), this.left), to = Math.min(this.x(Math.min(b, this.horizon())), this.width);
    if (to < this.left || from > this.width) return null;
    this.g.globalAlpha = alpha;
    this.g.fillStyle = fill;
    this.g.fillRect(from, y, Math.max(to - from, 1.5), h);
    this.g.globalAlpha = 1;
    if (says) this.hits.push({ kind: "bar", x: from, y, w: Math.max(to - from, 3), h, says });
    return [from, to];
  }
  // Up to where anything is known.
  horizon() { return this.timeline.furthest; }
  axis() {
    const { g, c } = this, wide = this.view[1] - this.view[0];
    const step = [1, 2, 5].flatMap(m => [1, 10, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8].map(b => m * b)).sort((a, b) => a - b).find(s => wide / s <= Math.max(4, this.width / 110)) || wide;
    const digits = Math.max(0, 6 - Math.floor(Math.log10(step)));
    g.strokeStyle = c.grid;
    g.lineWidth = 1;
    for (let t = Math.ceil(this.view[0] / step) * step; t <= this.view[1]; t += step) {
      const px = Math.round(this.x(t)) + .5;
      g.beginPath(); g.moveTo(px, 24); g.lineTo(px, this.height - 16); g.stroke();
      this.text(px + 3, 17, (t / 1e6).toFixed(Math.min(digits, 6)) + " s", c.dim);
    }
  }
  back() {
    const { c, timeline: t } = this;
    t.lanes.forEach((n, i) => {
      this.g.fillStyle = c.lane;
      this.g.fillRect(this.left, this.y[i] - this.lane * .28, this.width - this.left, this.lane * .56);
    });
    if (t.opened.heal < this.view[1]) {
      const from = Math.max(this.x(t.opened.heal), this.left);
      this.g.globalAlpha = .07; this.g.fillStyle = c.good; this.g.fillRect(from, 26, this.width - from, this.faultsAt - 26); this.g.globalAlpha = 1;
      if (t.opened.heal >= this.view[0]) { this.g.fillStyle = c.good; this.g.fillRect(from, 26, 1.5, this.faultsAt - 26); this.text(from + 5, 31, "healed", c.good); }
    }
  }
  names() {
    const { c, timeline: t } = this;
    this.heads.forEach(([region, y]) => this.text(10, y + 4, region, c.dim, "600 10.5px system-ui, sans-serif"));
    t.lanes.forEach((n, i) => {
      const s = this.states?.find(s => s.node === n.id);
      const colour = !s ? c.dim : s.standing === "down" ? c.bad : s.standing === "paused" ? c.warn : c.good;
      this.g.fillStyle = colour;
      this.g.beginPath(); this.g.arc(16, this.y[i], 4, 0, 7); this.g.fill();
      const leads = s?.role === "leader" && s.standing === "up";
      this.text(26, this.y[i], `n${n.id}${n.member ? "" : " (spare)"}${leads ? "  leads" : ""}`, leads ? c.accent : c.fg, leads ? "700 12px system-ui, sans-serif" : "12px system-ui, sans-serif");
    });
    this.kinds.forEach((kind, i) => this.text(10, this.faultsAt + 7 + i * 13, kind, c.dim, "10.5px system-ui, sans-serif"));
    this.text(10, this.opsAt + 8, "client latency", c.dim, "600 10.5px system-ui, sans-serif");
    this.g.textAlign = "right";
    for (const [us, words] of LATENCIES) this.text(this.left - 6, this.latencyY(us), words, c.dim, "9.5px system-ui, sans-serif");
    this.g.textAlign = "left";
  }
  reigns() {
    for (const { from, until, id, term } of this.timeline.reigns()) {
      if (!this.seen(from, until) || !this.timeline.laneOf.has(id)) continue;
      const i = this.timeline.laneOf.get(id), h = this.lane * .4;
      const drawn = this.bar(from, until, this.y[i] - h / 2, h, TERMS[term % TERMS.length], `n${id} leads in term ${term}\nfrom ${clock(from)}${until === Infinity ? "" : ` to ${clock(until)}`}`, .92);
      if (drawn && drawn[1] - drawn[0] > 50) this.text(drawn[0] + 5, this.y[i] + .5, `term ${term}`, "#fff", "600 10px system-ui, sans-serif");
    }
  }
  lifeGaps() {
    const { g, c, timeline: t } = this;
    t.lanes.forEach((n, i) => {
      const h = this.lane * .56, y = this.y[i] - h / 2;
      for (const [from, until, kind, why] of t.gaps(n.id)) {
        if (!this.seen(from, until)) continue;
        const drawn = this.bar(from, until, y, h, kind === "down" ? c.line : c.warn, `n${n.id} ${why}\n${clock(from)} to ${until === Infinity ? "now" : clock(until)}`, kind === "down" ? 1 : .55);
        if (!drawn || kind !== "down") continue;
        g.save(); g.beginPath(); g.rect(drawn[0], y, drawn[1] - drawn[0], h); g.clip();
        g.strokeStyle = c.dim; g.globalAlpha = .45; g.lineWidth = 1; g.beginPath();
        for (let px = Math.floor(drawn[0] / 6) * 6 - h; px < drawn[1]; px += 6) { g.moveTo(px, y + h); g.lineTo(px + h, y); }
        g.stroke(); g.restore();
      }
      for (const [at, what, why] of t.lives.get(n.id)) if (what === "refused" && this.seen(at, at)) { this.text(this.x(at) - 4, this.y[i], "✕", c.bad, "700 13px system-ui"); this.hits.push({ kind: "bar", x: this.x(at) - 6, y: this.y[i] - 7, w: 12, h: 14, says: `n${n.id} refused to boot at ${clock(at)}\n${why}` }); }
    });
  }
  // Faults of links shade all lanes while they last; each has its bar below.
  linkFaults() {
    for (const [, from, until, , , links] of this.timeline.faults) {
      const known = Math.min(until, this.horizon());
      if (!this.seen(from, known) || from > this.horizon()) continue;
      if (links) this.bar(from, known, 26, this.faultsAt - 30, this.c.shade, null, .7);
    }
  }
  nodeFaults() {
    const { c, timeline: t } = this;
    for (const [kind, from, until, nodes, says, links] of t.faults) {
      const known = Math.min(until, this.horizon());
      if (!this.seen(from, known) || from > this.horizon()) continue;
      const words = `${says}\n${clock(from)} to ${clock(until)}`;
      this.bar(from, known, this.faultsAt + 2 + this.kinds.indexOf(kind) * 13, 9, c.bad, words, .75);
      for (const id of nodes) if (t.laneOf.has(id)) { const y = this.y[t.laneOf.get(id)]; if (!links) this.bar(from, known, y - this.lane * .28, this.lane * .56, c.shade, null); this.bar(from, known, y + this.lane * .28, 3, c.bad, words, .85); }
    }
  }
  paintMessages() {
    const { g, c, timeline: t } = this;
    const most = this.view[1] - this.view[0] > 8e6 ? 2200 : MESSAGES_MAX;
    const strokes = [c.accent, c.data, c.warn];
    const dense = { alpha: .5 };
    this.shown = t.messages.within(this.view[0], this.view[1], most, (sent, from, at, to, lane, lost, bytes) => {
      const a = t.laneOfPlace[from], b = t.laneOfPlace[to];
      if (a === undefined || b === undefined) return;
      const line = { kind: "line", x1: this.x(sent), y1: this.y[a], x2: this.x(at), y2: this.y[b], lost, lane, row: [sent, from, at, to, bytes] };
      this.hits.push(line);
      dense.count = (dense.count ?? 0) + 1;
    });
    const lines = this.hits.filter(h => h.kind === "line");
    g.lineWidth = 1;
    const alpha = lines.length > 2500 ? .16 : lines.length > 900 ? .28 : .55;
    for (const which of [0, 1, 2, "lost"]) {
      g.strokeStyle = which === "lost" ? c.bad : strokes[which];
      g.globalAlpha = which === "lost" ? Math.max(alpha, .5) : alpha;
      g.setLineDash(which === "lost" ? [4, 3] : []);
      g.beginPath();
      for (const l of lines) if (which === "lost" ? l.lost : !l.lost && l.lane === which) { g.moveTo(l.x1, l.y1); g.lineTo(l.x2, l.y2); }
      g.stroke();
    }
    g.setLineDash([]);
    if (alpha > .5) {
      for (const l of lines) { g.fillStyle = l.lost ? c.bad : strokes[l.lane] ?? c.data; const long = Math.hypot(l.x2 - l.x1, l.y2 - l.y1); if (long < 14) continue; const ux = (l.x2 - l.x1) / long, uy = (l.y2 - l.y1) / long; g.beginPath(); g.moveTo(l.x2, l.y2); g.lineTo(l.x2 - ux * 7 - uy * 2.6, l.y2 - uy * 7 + ux * 2.6); g.lineTo(l.x2 - ux * 7 + uy * 2.6, l.y2 - uy * 7 - ux * 2.6); g.fill(); }
    }
    g.globalAlpha = 1;
  }
  paintMarks() {
    const { g, c, timeline: t } = this;
    const seen = t.marks.filter(m => this.seen(m[0], m[0]));
    const step = Math.max(1, Math.floor(seen.length / 1500));
    seen.forEach(([at, id, says], i) => {
      if (i % step || !t.laneOf.has(id)) return;
      const y = this.y[t.laneOf.get(id)] - this.lane * .36, bad = /corrupt|fail|stopped|lost|fault|damag/.test(says);
      g.fillStyle = bad ? c.bad : c.accent;
      g.beginPath(); g.arc(this.x(at), y, 2.4, 0, 7); g.fill();
      this.hits.push({ kind: "bar", x: this.x(at) - 4, y: y - 4, w: 8, h: 8, says: `${clock(at)}  n${id}\n${says}` });
    });
  }
  // From 0.1 ms at the bottom to 16 s at the top.
  latencyY(us) { const h = this.opsHeight - 8; return this.opsAt + 4 + h - Math.min(Math.max(Math.log10(Math.max(us, 100) / 100) / 5.2, 0), 1) * h; }
  latencies() {
    const { g, c } = this, y = us => this.latencyY(us);
    for (const [us] of LATENCIES) {
      g.strokeStyle = c.grid; g.beginPath(); g.moveTo(this.left, Math.round(y(us)) + .5); g.lineTo(this.width, Math.round(y(us)) + .5); g.stroke();
    }
    const colour = { ok: c.good, fail: c.warn, unknown: c.bad };
    const close = this.view[1] - this.view[0] < 3e6;
    const seen = this.timeline.operations.filter(o => o && this.seen(o[1], o[2]));
    const step = Math.max(1, Math.floor(seen.length / 4000));
    seen.forEach(([, call, ret, client, what, how], i) => {
      if (i % step && how === "ok") return;
      const py = y(ret - call), px = this.x(ret);
      g.fillStyle = colour[how] ?? c.dim;
      if (close) { g.globalAlpha = .45; g.fillRect(this.x(call), py - .75, Math.max(px - this.x(call), 1), 1.5); }
      g.globalAlpha = how === "ok" ? .7 : 1;
      g.beginPath(); g.arc(px, py, how === "ok" ? 1.9 : 2.8, 0, 7); g.fill(); g.globalAlpha = 1;
      this.hits.push({ kind: "bar", x: close ? Math.min(this.x(call), px - 4) : px - 4, y: py - 4, w: close ? Math.max(px - this.x(call), 8) : 8, h: 8, says: `client ${client}: ${how} after ${span(ret - call)}\n${what}\n${clock(call)} to ${clock(ret)}` });
    });
    for (const [call, client, what] of this.open ?? []) {
      if (call > this.now) continue;
      g.fillStyle = c.dim; g.globalAlpha = .6; g.fillRect(this.x(call), y(this.now - call) - .75, Math.max(this.x(this.now) - this.x(call), 1), 1.5); g.globalAlpha = 1;
      this.hits.push({ kind: "bar", x: this.x(call), y: y(this.now - call) - 4, w: Math.max(this.x(this.now) - this.x(call), 6), h: 8, says: `client ${client}: open for ${span(this.now - call)}\n${what}` });
    }
  }
  moment() {
    const { g, c, timeline: t } = this, px = this.x(this.now);
    if (px < this.width) { g.fillStyle = c.veil; g.fillRect(Math.max(px, this.left), 26, this.width, this.height); }
    g.fillStyle = c.accent; g.fillRect(px - .75, 8, 1.5, this.height - 20);
    g.beginPath(); g.moveTo(px - 5, 3); g.lineTo(px + 5, 3); g.lineTo(px, 10); g.fill();
    const v = t.violation;
    if (v && this.seen(v.at / 1e3, v.at / 1e3)) {
      const vx = this.x(v.at / 1e3), right = vx > this.width - 240;
      g.fillStyle = c.bad; g.fillRect(vx - 1, 24, 2.5, this.height - 40);
      g.save(); g.textAlign = right ? "right" : "left"; this.text(vx + (right ? -6 : 6), 33, v.name, c.bad, "700 12px system-ui, sans-serif"); g.restore();
      this.hits.push({ kind: "bar", x: vx - 6, y: 24, w: 12, h: this.height - 40, says: `${v.name}${v.node ? " on n" + v.node : ""}\n${v.detail}` });
    }
  }
  paintOverview() {
    const t = this.timeline, h = 46, g = this.size(this.overview, h), c = this.c, whole = Math.max(t.end, 1);
    const x = at => this.left + at / whole * (this.width - this.left - 10), bins = Math.floor((this.width - this.left) / 3), done = new Uint16Array(bins + 1);
    for (const o of t.operations) if (o && o[5] === "ok") done[Math.min(bins, Math.floor(o[2] / whole * bins))]++;
    const most = Math.max(1, ...done);
    g.fillStyle = c.good; g.globalAlpha = .45;
    done.forEach((n, i) => { if (n) g.fillRect(this.left + i / bins * (this.width - this.left - 10), h - 12 - n / most * (h - 18), 2.2, n / most * (h - 18)); });
    g.globalAlpha = 1;
    for (const r of t.reigns()) { g.fillStyle = TERMS[r.term % TERMS.length]; g.fillRect(x(r.from), h - 10, Math.max(x(Math.min(r.until, t.furthest)) - x(r.from), 1), 3); }
    for (const f of t.faults) if (f[1] <= t.furthest) { g.fillStyle = c.bad; g.globalAlpha = .7; g.fillRect(x(f[1]), h - 6, Math.max(x(Math.min(f[2], t.furthest)) - x(f[1]), 1.5), 3); g.globalAlpha = 1; }
    if (t.violation) { g.fillStyle = c.bad; g.fillRect(x(t.violation.at / 1e3) - 1, 0, 2.5, h); }
    g.strokeStyle = c.accent; g.lineWidth = 1.2; g.strokeRect(x(Math.max(this.view[0], 0)) + .5, 2.5, Math.max(x(Math.min(this.view[1], whole)) - x(Math.max(this.view[0], 0)), 3), h - 4);
    g.fillStyle = c.accent; g.fillRect(x(this.now) - .75, 0, 1.5, h);
    g.textBaseline = "middle"; g.font = "600 10.5px system-ui, sans-serif"; g.fillStyle = c.dim; g.fillText("whole run", 10, 14); g.font = "10.5px system-ui, sans-serif"; g.fillText("done, led, broken", 10, 31);
  }
  // What lies under a point, in words.
  explain(px, py) {
    for (let i = this.hits.length - 1; i >= 0; i--) {
      const h = this.hits[i];
      if (h.kind === "bar" && px >= h.x && px <= h.x + h.w && py >= h.y && py <= h.y + h.h) return h.says;
    }
    let best = null, near = 5;
    for (const h of this.hits) {
      if (h.kind !== "line") continue;
      const dx = h.x2 - h.x1, dy = h.y2 - h.y1, s = Math.min(Math.max(((px - h.x1) * dx + (py - h.y1) * dy) / (dx * dx + dy * dy || 1), 0), 1);
      const d = Math.hypot(px - h.x1 - s * dx, py - h.y1 - s * dy);
      if (d < near) [best, near] = [h, d];
    }
    if (!best) return null;
    const [sent, from, at, to, bytes] = best.row, id = place => this.timeline.opened.nodes[place]?.id;
    return `n${id(from)} → n${id(to)}  ${LANES[best.lane] ?? ""} ${bytes === 65535 ? "64 KiB or more" : bytes + " bytes"}\nsent ${clock(sent)}\n${best.lost ? "lost" : "arrived"} ${clock(at)} (${span(at - sent)})`;
  }
}
