"use strict";
// The page: what was asked for, what is shown. The run itself is in the worker.

const $ = id => document.getElementById(id);
const el = (tag, words, attrs = {}) => { const node = document.createElement(tag); Object.assign(node, attrs); if (words !== undefined) node.textContent = words; return node; };

let timeline = null, state = null, running = false, follow = false, over = false, painting = false, place = null, verdict = null, trouble = null, waiting = [];
const picture = new Picture($("lanes"), $("overview"));
const worker = new Worker(URL.createObjectURL(new Blob([$("worker").textContent], { type: "text/javascript" })));
const ask = (what, transfer = []) => worker.postMessage(what, transfer);

// ---- what the worker tells -------------------------------------------------------------------

const hears = {
  ready({ catalogue }) {
    const themes = new Map();
    catalogue.scenarios.forEach(s => { const [theme] = s.name.split("/"); themes.set(theme, [...themes.get(theme) ?? [], s]); });
    for (const [theme, list] of themes) {
      const group = el("optgroup", undefined, { label: theme });
      list.forEach(s => group.append(el("option", `${s.name.split("/")[1].replaceAll("_", " ")} (${s.nodes} nodes)`, { value: s.name, title: s.why })));
      $("scenario").append(group);
    }
    if (catalogue.regressions.length) {
      const group = el("optgroup", undefined, { label: "regressions" });
      catalogue.regressions.forEach(([name, text]) => group.append(el("option", name.split("/").at(-1), { value: "text:" + text })));
      $("scenario").append(group);
    }
    const b = catalogue.build;
    $("build").textContent = `build ${b.commit} · ${b.toolchain} · ${b.target}`;
    openHash();
  },
  opened({ opened, state: first, place: at }) {
    timeline = new Timeline(opened);
    [picture.timeline, verdict, over] = [timeline, null, false];
    running = follow = false;
    picture.view = [0, timeline.end * 1.01];
    $("title").textContent = `${opened.scenario}, seed ${opened.seed}`;
    $("why").textContent = opened.capsule ? `${opened.capsule.about}${opened.capsule.same_build ? "" : ` (of build ${opened.capsule.build.commit}; this is another, the run may differ)`}` : opened.why;
    $("slider").max = Math.ceil(timeline.end);
    $("report").replaceChildren(el("p", `Watched: ${opened.always.join(", ")}. The logs of the clients are judged at the end.`));
    $("texts").textContent = "";
    show(first, at);
    document.body.dataset.trace = "";
    document.body.dataset.opened = opened.scenario;
  },
  went({ told, rows, place: at, state: now, took, simulated, there, checkpoints, kept, memory }) {
    if (!timeline) return;
    timeline.add(told, rows);
    over = told.over;
    if (told.verdict) verdict = told.verdict;
    if (there) { running = false; }
    if (told.rows?.texts.length) $("texts").textContent = told.rows.texts.map(([seq, us, words]) => `${String(seq).padStart(8)}  ${clock(us).padStart(12)}  ${words}`).join("\n");
    if (simulated > 1e6 && took) document.body.dataset.pace = (simulated / 1e3 / took).toFixed(1);
    if (took !== undefined) document.body.dataset.took = took.toFixed(1);
    const pace = document.body.dataset.pace ? `${document.body.dataset.pace}× real time, ` : "";
    $("pace").textContent = `${pace}${checkpoints ?? 0} checkpoints in ${((kept ?? 0) / 1e6).toFixed(0)} MB, the run ${((memory ?? 0) / 1e6).toFixed(0)} MB`;
    show(now, at);
  },
  error({ why, asked }) {
    running = false;
    trouble = `${asked === "open" ? "can't be opened" : "stopped"}: ${why}`;
    document.body.dataset.error = why;
    // The run that was open before goes on.
    if (timeline) document.body.dataset.opened = timeline.opened.scenario;
    controls();
  },
};
worker.onmessage = ({ data }) => { hears[data.kind](data); if (data.kind === "error" || data.kind === "opened" || data.there) waiting.splice(0).forEach(done => done()); };
worker.onerror = e => say(`the simulator can't start here: ${e.message}`, "bad");

// ---- showing ---------------------------------------------------------------------------------

function say(words, kind = "") { $("verdict").textContent = words; $("verdict").className = "chip " + kind; }

function show(now, at) {
  [state, place] = [now, at];
  picture.now = now.now;
  picture.states = now.nodes;
  picture.open = now.open;
  $("slider").max = Math.ceil(timeline.end);
  if (document.activeElement !== $("slider") || running) $("slider").value = now.now;
  $("clock").textContent = clock(now.now);
  if (follow) centre();
  else if (running && (now.now > picture.view[1] || now.now < picture.view[0])) { const w = picture.view[1] - picture.view[0]; picture.view = [now.now - w * .15, now.now + w * .85]; }
  controls();
  paint();
}
function controls() {
  $("run").textContent = running ? "❚❚ Pause" : "▶ Run";
  ["back", "backmany", "start"].forEach(id => { $(id).disabled = !place || (place.steps === 0 && place.us === 0); });
  ["step", "stepmany", "end", "run"].forEach(id => { $(id).disabled = !timeline || (over && !running); });
  $("window").setAttribute("aria-pressed", String(follow));
  document.body.dataset.running = String(running);
  const v = timeline?.violation;
  if (trouble) { say(trouble, "bad"); return; }
  if (!timeline) return;
  if (verdict) { const known = timeline.violation; say(known ? `broken: ${known.name}` : "every property held", known ? "bad" : "good"); }
  else if (v) say(`broken: ${v.name}`, "bad");
  else say(running ? "running…" : place?.us ? "paused" : "not started", running ? "busy" : "");
}
function paint() {
  if (painting) return;
  painting = true;
  requestAnimationFrame(() => {
    painting = false;
    if (!timeline) return;
    picture.paint();
    table();
  });
}
function table() {
  const known = (n, value) => [n.standing === "down" ? "–" : value];
  const cells = n => [["", `n${n.node}`], [n.region], [n.standing === "up" ? `up, life ${n.life}` : n.standing], [n.role ?? "–"], known(n, n.term), known(n, n.last), known(n, n.committed), known(n, n.applied), known(n, n.revision), [n.cut_from.map(c => "n" + c).join(" ")]];
  $("nodes").replaceChildren(...timeline.lanes.map(lane => {
    const n = state.nodes.find(s => s.node === lane.id), row = el("tr", undefined, { className: `${n.standing}${n.node === state.leader ? " leader" : ""}` });
    cells(n).forEach((c, i) => { const cell = el("td", i ? c[0] : ""); if (!i) cell.append(el("span", "", { className: "dot" }), c[1]); row.append(cell); });
    return row;
  }));
  list("faults", state.faults.map(f => f[4]), "Nothing is broken at this moment.");
  const o = state.operations;
  $("clients").textContent = `${o.ok} done, ${o.fail} refused, ${o.unknown} unknown, ${o.open} open; ${state.under_way} messages on their way`;
  list("open", state.open.slice(0, 6).map(([call, client, what]) => `client ${client}: ${what} for ${span(state.now - call)}`), "");
  document.body.dataset.now = state.now;
  document.body.dataset.steps = state.steps;
  if (verdict) report();
}
function list(id, items, none) { $(id).replaceChildren(...(items.length ? items.map(i => el("li", i)) : none ? [el("li", none, { className: "dim" })] : [])); }
function report() {
  if (document.body.dataset.trace === verdict.trace) return;
  document.body.dataset.trace = verdict.trace;
  const v = verdict.violation, parts = [];
  parts.push(v ? el("p", `${v.name}: ${v.detail}`, { className: "bad" }) : el("p", `Held: ${timeline.opened.always.join(", ")}.`, { className: "good" }));
  const rows = el("dl"), row = (k, w) => rows.append(el("dt", k), el("dd", w));
  row("trace", verdict.trace);
  if (verdict.same_as_capsule !== null) row("capsule", verdict.same_as_capsule ? "the same run" : "another run than the capsule's");
  verdict.figures.forEach(([name, value]) => row(name.replaceAll("_", " "), value));
  const s = verdict.stats;
  row("operations", `${s.ok} done, ${s.failed} refused, ${s.unknown} unknown; ${s.writes} writes acknowledged`);
  row("world", `${s.events} events, ${s.messages} messages, ${s.leaders} leaders`);
  row("happened", Object.entries(verdict.sometimes).map(([n, c]) => `${n} ${c}`).join(", "));
  parts.push(rows);
  $("report").replaceChildren(...parts);
}
function legend() {
  const key = (words, style, thin) => { const item = el("span"), dot = el("i", "", { className: thin ? "thin" : "" }); dot.style.background = style; item.append(dot, words); return item; };
  $("legend").replaceChildren(key("leader, by term", TERMS[0]), key("control", "var(--accent)", true), key("data", "var(--data)", true), key("bulk", "var(--warn)", true), key("lost", "var(--bad)", true),
    key("down", "var(--line)"), key("stands still", "var(--warn)"), key("fault", "var(--bad)"), key("acknowledged", "var(--good)"), key("unknown outcome", "var(--bad)"), key("healed from here on", "var(--good)"));
}

// ---- what people do --------------------------------------------------------------------------

function open(what) {
  trouble = null;
  delete document.body.dataset.error;
  [document.body.dataset.opened, document.body.dataset.trace] = ["", ""];
  say("opening…", "busy");
  ask({ do: "open", seed: $("seed").value.trim(), ...what });
}
function openChosen() {
  const chosen = $("scenario").value;
  if (chosen.startsWith("text:")) { open({ text: chosen.slice(5) }); return; }
  try { history.replaceState(null, "", `#scenario=${chosen}&seed=${$("seed").value.trim()}`); } catch { /* a page from a file may not */ }
  open({ scenario: chosen });
}
// #scenario=failover/region_loss&seed=7, or #open=capsule.toml beside the page.
async function openHash() {
  const wish = new URLSearchParams(location.hash.slice(1));
  if (wish.get("seed")) $("seed").value = wish.get("seed");
  const file = wish.get("open");
  if (file) {
    try {
      const got = await fetch(new URL(file, location.href));
      if (!got.ok) throw new Error(`${got.status} ${got.statusText}`);
      open({ text: await got.text() });
    } catch (e) { hears.error({ why: `${file} can't be read: ${e.message}`, asked: "open" }); }
    return;
  }
  const name = (wish.get("scenario") ?? "failover/region_loss").replaceAll("-", "_");
  const known = [...$("scenario").options].find(o => o.value === name || o.value.endsWith("/" + name));
  if (known) $("scenario").value = known.value;
  open({ scenario: known?.value ?? name });
}
async function openFile(file) {
  if (!file) return;
  if (file.size > 8 << 20) { hears.error({ why: `${file.name} is ${(file.size / 1e6).toFixed(1)} MB; a capsule has at most 8`, asked: "open" }); return; }
  open({ text: await file.text() });
}
function run() {
  if (!timeline) return;
  trouble = null;
  if (running) { running = false; ask({ do: "pause" }); return; }
  if (over) return;
  running = true;
  controls();
  ask({ do: "run", speed: Number($("speed").value) });
}
function halt() { running = false; trouble = null; }
function seek(us) { if (!timeline) return; halt(); ask({ do: "seek", us: Math.max(0, Math.round(us)) }); }
function step(n) {
  if (!timeline) return;
  halt();
  // A step is seen only close by.
  if (picture.view[1] - picture.view[0] > 4e6) { picture.view = [0, 4e5]; setFollow(true); }
  ask({ do: "step", steps: n });
}
function finish() { if (!timeline || over) return; running = true; trouble = null; controls(); ask({ do: "run", speed: 0 }); }
function setFollow(on) { follow = on; controls(); if (on && state) { if (picture.view[1] - picture.view[0] > 2e6) picture.view = [0, 2e6]; centre(); paint(); } }
function centre() { const w = picture.view[1] - picture.view[0]; picture.view = [state.now - w * .75, state.now + w * .25]; }
function look(a, b) {
  const most = Math.max(timeline.end * 1.01, 1), w = Math.min(Math.max(b - a, 100), most), from = Math.min(Math.max(a, -w * .8), most - w * .2);
  picture.view = w >= most ? [0, most] : [from, from + w];
  paint();
}
function zoom(by, at = follow ? state.now : (picture.view[0] + picture.view[1]) / 2) { const [a, b] = picture.view; look(at - (at - a) * by, at + (b - at) * by); if (follow) { centre(); paint(); } }
function whole() { setFollow(false); look(0, timeline.end * 1.01); }
function toViolation() { const v = timeline?.violation; if (v) { setFollow(false); look(v.at / 1e3 - 1.5e6, v.at / 1e3 + 5e5); } }

$("opener").addEventListener("submit", e => { e.preventDefault(); openChosen(); });
$("scenario").addEventListener("change", openChosen);
$("file").addEventListener("change", e => { openFile(e.target.files[0]); e.target.value = ""; });
$("filelabel").addEventListener("keydown", e => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); $("file").click(); } });
$("run").onclick = run;
$("start").onclick = () => seek(0);
$("end").onclick = finish;
$("back").onclick = () => step(-1);
$("step").onclick = () => step(1);
$("backmany").onclick = () => step(-100);
$("stepmany").onclick = () => step(100);
$("slider").oninput = e => seek(Number(e.target.value));
$("speed").onchange = () => { if (running) ask({ do: "run", speed: Number($("speed").value) }); };
$("whole").onclick = whole;
$("window").onclick = () => setFollow(!follow);
$("closer").onclick = () => zoom(.5);
$("wider").onclick = () => zoom(2);
$("keys").onclick = () => $("help").showModal();
$("theme").onclick = () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
$("verdict").onclick = toViolation;

function setTheme(name) { document.documentElement.dataset.theme = name; paint(); }
const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));

const KEYS = {
  " ": run, ArrowRight: e => step(e.shiftKey ? 100 : 1), ArrowLeft: e => step(e.shiftKey ? -100 : -1),
  PageDown: () => seek(state.now + 1e6), PageUp: () => seek(state.now - 1e6), Home: () => seek(0), End: finish,
  "+": () => zoom(.5), "=": () => zoom(.5), "-": () => zoom(2), 0: whole, f: () => setFollow(!follow), v: toViolation, o: () => $("file").click(), "?": () => $("help").showModal(),
};
addEventListener("keydown", e => {
  const busy = e.target.closest("select, input, dialog, pre") || (e.target.closest("button, label") && e.key === " ") || e.ctrlKey || e.metaKey || e.altKey;
  const does = KEYS[e.key.length === 1 ? e.key.toLowerCase() : e.key];
  if (busy || !does || !timeline) return;
  e.preventDefault();
  does(e);
});

const canvas = $("lanes"), tip = $("tip");
canvas.addEventListener("wheel", e => { e.preventDefault(); if (timeline) { const t = follow ? state.now : picture.at(e.offsetX); zoom(e.deltaY > 0 ? 1.25 : .8, t); } }, { passive: false });
let drag = null;
canvas.addEventListener("pointerdown", e => { drag = [e.clientX, ...picture.view]; canvas.setPointerCapture(e.pointerId); });
canvas.addEventListener("pointerup", () => { drag = null; });
canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
canvas.addEventListener("dblclick", e => { if (timeline) seek(picture.at(e.offsetX)); });
canvas.addEventListener("pointermove", e => {
  if (!timeline) return;
  if (drag) {
    if (Math.abs(drag[0] - e.clientX) < 3) return;
    const by = (drag[0] - e.clientX) / (picture.width - picture.left - 10) * (drag[2] - drag[1]);
    if (follow) setFollow(false);
    look(drag[1] + by, drag[2] + by);
    return;
  }
  const says = picture.explain(e.offsetX, e.offsetY);
  tip.hidden = !says;
  if (!says) return;
  tip.textContent = says;
  const wide = $("stage").clientWidth, right = e.offsetX > wide - 340;
  tip.style.left = right ? "auto" : e.offsetX + 14 + "px";
  tip.style.right = right ? wide - e.offsetX + 14 + "px" : "auto";
  tip.style.top = e.offsetY + 16 + "px";
});
$("overview").addEventListener("pointerdown", e => { if (!timeline) return; const w = picture.view[1] - picture.view[0], at = (e.offsetX - picture.left) / (picture.width - picture.left - 10) * timeline.end; if (w > timeline.end * .9) seek(at); else { setFollow(false); look(at - w / 2, at + w / 2); } });
new ResizeObserver(paint).observe($("stage"));

let over_page = 0;
addEventListener("dragenter", e => { e.preventDefault(); over_page++; $("drop").hidden = false; });
addEventListener("dragleave", () => { if (--over_page <= 0) { over_page = 0; $("drop").hidden = true; } });
addEventListener("dragover", e => e.preventDefault());
addEventListener("drop", e => { e.preventDefault(); over_page = 0; $("drop").hidden = true; openFile(e.dataTransfer.files[0]); });
addEventListener("hashchange", openHash);

// ---- the beginning ---------------------------------------------------------------------------

setTheme(dark.matches ? "dark" : "light");
legend();
(async () => {
  try {
    const packed = Uint8Array.from(atob($("core").textContent), c => c.charCodeAt(0));
    const bytes = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
    ask({ do: "start", bytes }, [bytes]);
  } catch (e) {
    say(`the simulator in this page can't be unpacked: ${e.message}`, "bad");
  }
})();

// For tests and for the curious: each does a thing and waits until the run stands.
const settled = () => new Promise(done => waiting.push(done));
globalThis.dwcp = {
  open: what => { const done = settled(); open(what); return done; },
  finish: () => { const done = settled(); finish(); return done; },
  seek: us => { const done = settled(); seek(us); return done; },
  step: n => { const done = settled(); step(n); return done; },
  look, whole, toViolation,
  get state() { return state; },
  get verdict() { return verdict; },
  get timeline() { return timeline; },
  get running() { return running; },
};
