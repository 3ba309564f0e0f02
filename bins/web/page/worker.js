"use strict";
// The run, off the page's thread: it owns the WebAssembly instance, goes forward in slices, and
// goes back by putting back a copy of its memory.
//
// Checkpoints. All that a run is lies in the instance's linear memory. Every `EVERY` of simulated
// time the pages of memory that changed since the checkpoint before are kept. To go to a moment,
// the memory of the last checkpoint before it is put together into a new instance, which goes
// forward from there. When they outgrow `BUDGET`, every second one is merged into its successor.
//
// A place in a run is { steps, us, timed }: after so many steps, and, if `timed`, with the clock
// gone on to `us`. A place is always reached in the same way, so that its state is the same.

const PAGE = 4096;
const WASM_PAGE = 65536;
const EVERY = 2e6;
const BUDGET = 768 << 20;
// How long a slice of work may keep a message from the page waiting, in milliseconds.
const SLICE_MS = 40;

class Core {
  constructor(module, bytes = 0) {
    // Every import is what a dependency would call to reach the world outside: none may be called.
    const imports = {};
    for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
      if (kind !== "function") throw new Error(`the module imports ${from}.${name}, a ${kind}`);
      (imports[from] ??= {})[name] = () => { throw new Error(`a simulation reached outside: ${from}.${name}`); };
    }
    this.exports = new WebAssembly.Instance(module, imports).exports;
    const short = bytes - this.exports.memory.buffer.byteLength;
    if (short > 0) this.exports.memory.grow(short / WASM_PAGE);
  }
  get bytes() { return new Uint8Array(this.exports.memory.buffer); }
  ask(question) {
    const asked = new TextEncoder().encode(JSON.stringify(question));
    const room = this.exports.dwcp_room(asked.length);
    if (!room) throw new Error("the file is too long to be a capsule");
    this.bytes.set(asked, room);
    const length = this.exports.dwcp_call();
    const told = new TextDecoder().decode(new Uint8Array(this.exports.memory.buffer, this.exports.dwcp_told(), length));
    const answer = JSON.parse(told);
    if (answer.error) throw Object.assign(new Error(answer.error), { fatal: answer.fatal });
    return answer;
  }
  messages(rows) { return this.exports.memory.buffer.slice(this.exports.dwcp_messages(), this.exports.dwcp_messages() + rows * 16); }
}

class Checkpoints {
  constructor() { this.list = []; this.shadow = new Uint8Array(0); this.total = 0; }
  // Keeps what changed since the last one; whether that was too much, and fewer are to be kept.
  keep(core, place) {
    const now = core.bytes, pages = new Map();
    const a = new Int32Array(now.buffer), b = new Int32Array(this.shadow.buffer), per = PAGE / 4;
    for (let page = 0, at = 0; at < a.length; page++, at += per) {
      let same = at < b.length;
      for (let i = at; same && i < at + per; i++) same = a[i] === b[i];
      if (!same) pages.set(page, now.slice(page * PAGE, (page + 1) * PAGE));
    }
    if (this.shadow.length < now.length) this.shadow = now.slice();
    else for (const [page, bytes] of pages) this.shadow.set(bytes, page * PAGE);
    this.list.push({ place, size: now.length, pages });
    this.total += pages.size * PAGE;
    const full = this.total > BUDGET;
    if (full) this.thin();
    return full;
  }
  thin() {
    const kept = [];
    this.list.forEach((point, i) => {
      const next = this.list[i + 1];
      if (i % 2 === 0 || !next) { kept.push(point); return; }
      for (const [page, bytes] of point.pages) if (next.pages.has(page)) this.total -= PAGE; else next.pages.set(page, bytes);
    });
    this.list = kept;
  }
  get last() { return this.list.at(-1)?.place; }
  // The last whose place is not behind a wanted one.
  before(isBefore) {
    for (let i = this.list.length - 1; i > 0; i--) if (isBefore(this.list[i].place)) return i;
    return 0;
  }
  restore(module, nth) {
    const { size } = this.list[nth], core = new Core(module, size), memory = core.bytes, put = new Uint8Array(size / PAGE);
    for (let i = nth; i >= 0; i--) {
      for (const [page, bytes] of this.list[i].pages) {
        if (page >= put.length || put[page]) continue;
        put[page] = 1;
        memory.set(bytes, page * PAGE);
      }
    }
    return core;
  }
}

// `known`: how many events of the run the page has been told of.
let module, core, points, place, known, spacing, over = false, turn = 0;

const tell = (kind, what = {}, transfer = []) => postMessage({ kind, ...what }, transfer);

// Goes on, and keeps a checkpoint whenever the time for one has come.
function go(until, steps) {
  const told = core.ask({ do: "go", until, steps, known });
  place = { steps: told.steps, us: told.now, timed: steps === null };
  over = told.over;
  known = Math.max(known, told.events);
  if (place.timed && !over && place.us >= points.last.us + spacing && points.keep(core, { ...place })) spacing *= 2;
  return told;
}
// Tells the page what happened and how things stand.
function report(told, extra = {}) {
  const rows = told.messages ? core.messages(told.messages) : new ArrayBuffer(0);
  tell("went", { told, rows, place, state: core.ask({ do: "state" }), checkpoints: points.list.length, kept: points.total, memory: core.bytes.length, ...extra }, [rows]);
}
const here = () => core.ask({ do: "where" });

// Lets messages from the page in.
const channel = new MessageChannel();
let awake = null;
channel.port1.onmessage = () => awake?.();
const breathe = () => new Promise(done => { awake = done; channel.port2.postMessage(0); });

// Forward to a time, in slices.
async function forward(until, mine) {
  let slice = 20_000;
  const all = performance.now(), from = place.us;
  for (;;) {
    const began = performance.now();
    const told = go(Math.min(until, place.us + slice), null);
    const took = performance.now() - began;
    slice = Math.round(Math.min(Math.max(slice * Math.min(Math.max(SLICE_MS / Math.max(took, 0.5), 0.5), 2), 1_000), EVERY));
    const there = over || place.us >= until;
    report(told, there ? { took: performance.now() - all, simulated: place.us - from, there } : {});
    if (there) return;
    await breathe();
    if (mine !== turn) return;
  }
}

function restore(nth) {
  core = points.restore(module, nth);
  place = { ...points.list[nth].place };
  over = false;
}
// To a number of steps made before, from the nearest checkpoint before it.
function toSteps(steps) {
  restore(points.before(p => p.steps <= steps));
  const told = steps > place.steps ? go(null, steps - place.steps) : here();
  place = { steps: told.steps, us: told.now, timed: false };
  return told;
}
// To a time, from the nearest checkpoint before it if that is nearer than the run itself.
async function seek(us, mine) {
  const began = performance.now();
  const nth = points.before(p => p.us <= us);
  if (us < place.us || points.list[nth].place.us > place.us) restore(nth);
  if (us <= place.us) { report(here(), { took: performance.now() - began, there: true }); return; }
  await forward(us, mine);
}

const does = {
  start({ bytes }) {
    module = new WebAssembly.Module(bytes);
    core = new Core(module);
    tell("ready", { catalogue: core.ask({ do: "catalogue" }) });
  },
  open({ text, scenario, seed }) {
    turn++;
    const fresh = new Core(module);
    const opened = fresh.ask({ do: "open", text, scenario, seed });
    [core, points, over, known, spacing] = [fresh, new Checkpoints(), false, 0, EVERY];
    place = { steps: 0, us: 0, timed: true };
    points.keep(core, { ...place });
    tell("opened", { opened, state: core.ask({ do: "state" }), place });
  },
  // With a speed, so many simulated seconds a second; without one, as fast as it goes.
  async run({ until = Number.MAX_SAFE_INTEGER, speed }) {
    const mine = ++turn;
    if (!speed) { await forward(until, mine); return; }
    let last = performance.now(), owed = 0;
    while (mine === turn && !over && place.us < until) {
      await new Promise(done => setTimeout(done, 16));
      if (mine !== turn) return;
      const now = performance.now();
      // What a slow machine can't keep up with is not made up for later.
      owed += Math.min(now - last, 100) * 1e3 * speed;
      last = now;
      const by = Math.floor(owed);
      if (by < 1) continue;
      owed -= by;
      const told = go(Math.min(place.us + by, until), null);
      report(told, { there: over || place.us >= until });
    }
  },
  pause() { turn++; report(here(), { there: true }); },
  async seek({ us }) { await seek(us, ++turn); },
  step({ steps }) {
    turn++;
    const began = performance.now();
    const told = steps < 0 ? toSteps(Math.max(place.steps + steps, 0)) : over ? here() : go(null, steps);
    report(told, { took: performance.now() - began, there: true });
  },
};

onmessage = async ({ data }) => {
  try {
    await does[data.do](data);
  } catch (e) {
    turn++;
    // A program that stopped has left its memory half done: the last checkpoint is put in its place.
    if (data.do !== "open" && (e.fatal || e instanceof WebAssembly.RuntimeError) && points) restore(points.list.length - 1);
    tell("error", { why: String(e.message ?? e), asked: data.do });
  }
};
