// What the page shows. (chart.js stands before this.)

window.addEventListener("error", (event) => {
  const notice = document.getElementById("broken");
  notice.hidden = false;
  notice.textContent = `This page is broken: ${event.message}`;
});

const data = JSON.parse(document.getElementById("data").textContent);
const { summary, steps, ops, requests, ranks } = data;
const numSteps = steps.start_s.length;
const sum = (values) => values.reduce((total, value) => total + value, 0);
const percentile = (values, share) => {
  const sorted = Float64Array.from(values).sort();
  return sorted.length ? sorted[Math.round(share * (sorted.length - 1))] : 0;
};

// What the ranks share: each prefill, or heads and cache.
const group = () => (summary.dcp > 1 ? "DCP" : "PCP");

// ---- Top
function showTop() {
  const many = (n, word) => `${grouped(n)} ${word}${n === 1 ? "" : "s"}`;
  document.title = `weft replay: ${summary.preset} on ${summary.device}`;
  const failed = data.mismatches.length;
  const verdict = failed
    ? `${many(failed, "mismatch").replace("mismatchs", "mismatches")} in step ${grouped(numSteps - 1)}; the run stopped there`
    : `${many(summary.checked_pairs, "answer")} of ${many(summary.checked_steps, "step")} held against float64: no mismatch`;
  document.getElementById("top").innerHTML = `
    <p class="eyebrow">weft replay</p>
    <h1>${escaped(summary.preset)} on ${escaped(summary.device)}</h1>
    <p class="quiet">${many(summary.requests, "request")} of ${escaped(summary.trace === "built-in" ? "the built-in trace" : summary.trace)},
      lengths times ${+summary.scale.toPrecision(4)}; ${many(summary.layers, "layer")}, ${many(ranks.length, "rank")}${
    ranks.length > 1 ? ` (${group()})` : ""}, cache of ${escaped(summary.kv_dtype)}, ${many(numSteps, "step")}</p>
    <p class="verdict ${failed ? "bad" : ""}">${verdict}</p>
    ${failed ? `<pre class="mismatches" tabindex="0">${data.mismatches.map(escaped).join("\n\n")}</pre>` : ""}
    <dl class="tiles">${tiles().map(([name, value, remark]) =>
    `<div class="tile"><dt>${name}</dt><dd>${value}</dd><dd class="quiet" style="font-weight:400;letter-spacing:0">${remark}</dd></div>`).join("")}</dl>`;
}

const unit = (text) => text.replace(/ ([^ ]+)$/, " <small>$1</small>");

function tiles() {
  const tokens = summary.prefill_tokens + summary.decode_tokens;
  const found = [
    ["Throughput", `${compact(Math.round(summary.tokens_per_second))} <small>tokens/s</small>`,
      `${compact(tokens)} tokens in ${duration(summary.step_seconds)} of wall clock`],
    ["Step latency, p50", unit(duration(summary.step_ms_p50 / 1e3)), `p99 ${duration(summary.step_ms_p99 / 1e3)}, wall clock`],
  ];
  const first = latencies().firstToken;
  if (first.length) {
    found.push(["First token, p50", unit(duration(percentile(first, 0.5))), `p99 ${duration(percentile(first, 0.99))}, virtual clock`]);
  }
  const prompts = summary.prefill_tokens + summary.prefix_hit_tokens;
  found.push(["Prefix hits", unit(percent(prompts ? summary.prefix_hit_tokens / prompts : 0)), `${compact(summary.prefix_hit_tokens)} tokens of the prompts were in the cache`]);
  found.push(["Cache blocks in use", unit(percent(summary.block_use_peak)), `at the peak; mean ${percent(summary.block_use_mean)}`]);
  if (ranks.length > 1) found.push([`${group()} balance`, fixed(summary.pcp_balance, 3), "causal work of the busiest rank over the mean"]);
  const device = sum(ops.map((op) => sum(op.seconds)));
  found.push(["Device time", unit(duration(device)), ranks.length > 1 ? "of all ranks together" : "of all operations"]);
  return found;
}

// ---- Axis
function showAxis() {
  const axes = {
    step: { name: "Steps", start: (i) => i, end: (i) => i + 1, unit: "", whole: true },
    wall: { name: "Wall clock", start: (i) => steps.start_s[i], end: (i) => steps.end_s[i], unit: " s" },
    virtual: { name: "Virtual clock", start: (i) => steps.virtual_start_ms[i] / 1e3, end: (i) => steps.virtual_end_ms[i] / 1e3, unit: " s" },
  };
  const nav = document.getElementById("axis");
  nav.innerHTML = `<div class="choice" role="radiogroup" aria-label="Plot over">${Object.entries(axes).map(([key, axis]) =>
    `<label><input type="radio" name="axis" value="${key}"><span>${axis.name}</span></label>`).join("")}</div>
    <button type="button" hidden>Show all steps</button>
    <span class="quiet small" id="hint"></span>`;
  nav.querySelector("input").checked = true;
  nav.addEventListener("change", (event) => {
    view.axis = axes[event.target.value];
    drawAll();
  });
  const button = nav.querySelector("button");
  button.addEventListener("click", () => zoomTo(0, view.all));
  view.axis = axes.step;
  view.all = view.to = numSteps;
  view.onZoom = (zoomed) => {
    button.hidden = !zoomed;
  };
  view.describe = (group) => `at ${duration(steps.start_s[group.from])} of wall clock, ${duration(steps.virtual_start_ms[group.from] / 1e3)} of virtual clock`;
  if (window.matchMedia("(hover: hover)").matches) nav.lastElementChild.textContent = "Drag across a plot to zoom in";
}

// ---- Cards
// Where there is room the cards stand in two columns, each as high as it is; on a narrow page all
// stand in one, in the order in which they were made.
function card(title, remark, place) {
  const section = document.createElement("section");
  section.className = "card";
  section.style.order = document.querySelectorAll(".card").length;
  section.innerHTML = `<h2>${title}</h2><p>${remark}</p>`;
  document.getElementById(place).append(section);
  return section;
}

function showLatency() {
  new StepPlot(card("Step latency", "Wall clock of each step, without the oracle's time", "before"), {
    label: "Step latency over the run",
    series: [{ name: "Latency", color: "blue", value: (i) => steps.end_s[i] - steps.start_s[i] }],
    marks: [{ value: summary.step_ms_p50 / 1e3, text: `p50 ${duration(summary.step_ms_p50 / 1e3)}` },
      { value: summary.step_ms_p99 / 1e3, text: `p99 ${duration(summary.step_ms_p99 / 1e3)}` }],
    format: duration, axis: "time", tall: 220,
  });
}

function showBatch() {
  new StepPlot(card("Batch composition", `Tokens of each step; the budget is ${grouped(summary.token_budget)}`, "left"), {
    label: "Tokens of each step", stacked: true, format: (n) => `${compact(n)} tokens`,
    series: [{ name: "Decode", color: "orange", value: (i) => steps.decode_tokens[i] },
      { name: "Prefill", color: "blue", value: (i) => steps.prefill_tokens[i] }],
  });
  new StepPlot(card("Requests", "Requests in each step, and those that have come and not begun", "right"), {
    label: "Requests of each step", stacked: true, format: (n) => compact(n),
    series: [{ name: "Decoding", color: "orange", value: (i) => steps.decodes[i] },
      { name: "In prefill", color: "blue", value: (i) => steps.prefills[i] },
      { name: "Waiting", color: "grey", value: (i) => steps.waiting[i] }],
  });
}

function showBlocks() {
  const all = summary.cache_blocks;
  new StepPlot(card("Block occupancy", `Share of the ${grouped(all)} blocks of ${grouped(summary.page_tokens)} tokens; the rest is free`, "left"), {
    label: "Occupancy of the cache's blocks", stacked: true, hold: true, format: percent, axis: [0.01, " %"], high: 1,
    series: [{ name: "Held by a request", color: "green", value: (i) => steps.blocks_used[i] / all },
      { name: "Kept for reuse", color: "grey", value: (i) => steps.blocks_cached[i] / all }],
  });
}

function showPrefixHits() {
  const share = [];
  let found = 0, computed = 0;
  for (let i = 0; i < numSteps; ++i) {
    found += steps.reused_tokens[i];
    computed += steps.prefill_tokens[i];
    share.push(found + computed ? found / (found + computed) : null);
  }
  const section = card("Prefix hits", "Tokens of prompts that were found in the cache, or computed, in each step", "right");
  new StepPlot(section, {
    label: "Tokens of prompts found and computed in each step", stacked: true, format: (n) => `${compact(n)} tokens`, tall: 150,
    series: [{ name: "Found", color: "purple", value: (i) => steps.reused_tokens[i] },
      { name: "Computed", color: "blue", value: (i) => steps.prefill_tokens[i] }],
  });
  new StepPlot(section, {
    label: "Share of all prompt tokens so far that were found", format: percent, axis: [0.01, " %"], tall: 130,
    series: [{ name: "Share found so far", color: "purple", cumulative: true, value: (i) => share[i] }],
  });
}

function showBalance() {
  if (ranks.length < 2) {
    card("PCP balance", "One rank: there is nothing to balance. <code>--pcp=N</code> shares each prefill between N ranks.", "right");
    return;
  }
  const section = card(`${group()} balance`, "Causal work (query, visible key) of the busiest rank over the mean of all; 1 is even", "right");
  const balance = (i) => (steps.causal_pairs[i] ? (steps.causal_pairs_of_busiest[i] * ranks.length) / steps.causal_pairs[i] : null);
  new StepPlot(section, {
    label: "Balance of causal work between ranks", format: (n) => fixed(n, 3), low: 1,
    series: [{ name: "Busiest over mean", color: "green", value: balance }],
  });
  section.insertAdjacentHTML("beforeend", `<div class="scroll"><table class="data"><thead><tr><th>Rank</th><th>Causal pairs</th><th>Rows</th>
    <th>Padding</th><th>Device time</th></tr></thead><tbody>${ranks.map((rank, i) => `<tr><td>${i}</td><td>${compact(rank.causal_pairs)}</td>
    <td>${grouped(rank.rows)}</td><td>${grouped(rank.padding_rows)}</td><td>${duration(rank.device_s)}</td></tr>`).join("")}</tbody></table></div>`);
}

const opNames = {
  merge_states: ["Merge states", "new tokens and context (DCP)", "purple"],
  correct_attn_out: ["Correct output", "shares of the ranks (DCP)", "teal"],
  quantize_fp8: ["Quantize", "", "teal"],
  copy: ["Copy", "tables, collectives, results", "grey"],
  fill: ["Fill", "poisons the outputs", "red"],
  reshape_and_cache: ["Reshape and cache", "writes keys and values", "green"],
  attention: ["Attention", "", "blue"],
  gather_rows: ["Gather rows", "makes the content; restores hidden states", "orange"],
};
const spareColors = ["purple", "green", "red", "grey"];

function showOperations() {
  const named = ops.map((op, i) => {
    const [name, remark, color] = opNames[op.name] || [op.name, "", spareColors[i % spareColors.length]];
    return { name, remark, color, calls: op.calls, seconds: op.seconds, total: sum(op.seconds) };
  }).sort((a, b) => b.total - a.total);
  const all = sum(named.map((op) => op.total)) || 1;
  const who = ranks.length > 1 ? `of all ${ranks.length} ranks together` : "of each operation";
  const section = card("Time per operation", `Device time ${who}`, "left");
  section.insertAdjacentHTML("beforeend", `<div class="scroll"><table class="data"><thead><tr><th>Operation</th><th class="wide-only"></th><th>Share</th><th>Time</th><th>Calls</th></tr></thead>
    <tbody>${named.map((op) => `<tr><td>${escaped(op.name)}${op.remark && `<br><span class="quiet" style="white-space:normal">${op.remark}</span>`}</td>
    <td class="bar wide-only"><div style="width:${(op.total / named[0].total) * 100}%;background:var(--${op.color})"></div></td>
    <td>${percent(op.total / all)}</td><td>${duration(op.total)}</td><td>${grouped(op.calls)}</td></tr>`).join("")}</tbody></table></div>`);
  new StepPlot(section, {
    label: "Device time of each step by operation", stacked: true, format: duration, axis: "time", tall: 190,
    series: named.map((op) => ({ name: op.name, color: op.color, value: (i) => op.seconds[i] })),
  });
}

// ---- Requests: latencies on the virtual clock, seconds
function latencies() {
  const found = { who: [], arrival: [], wait: [], firstToken: [], whole: [], wallFirst: [] };
  requests.last_step.forEach((last, i) => {
    if (last < 0) return;
    const arrival = requests.virtual_arrival_ms[i], token = requests.first_token_step[i];
    found.who.push(i);
    found.arrival.push(arrival / 1e3);
    found.wait.push((steps.virtual_start_ms[requests.first_step[i]] - arrival) / 1e3);
    found.firstToken.push((steps.virtual_end_ms[token] - arrival) / 1e3);
    found.whole.push((steps.virtual_end_ms[last] - arrival) / 1e3);
    found.wallFirst.push(steps.end_s[token] - steps.start_s[requests.first_step[i]]);
  });
  return found;
}

function showRequests() {
  const found = latencies();
  if (!found.who.length) return;
  const section = card("Request latency", "Seconds from arrival, on the virtual clock that makes the schedule; each request at its arrival", "after");
  new RequestPlot(section, found);
  const rows = [["Waiting for the first step", found.wait, "virtual"], ["First token", found.firstToken, "virtual"],
    ["Last token", found.whole, "virtual"], ["First step to first token", found.wallFirst, "wall"]];
  section.insertAdjacentHTML("beforeend", `<div class="scroll"><table class="data"><thead><tr><th></th><th>p50</th><th>p90</th><th>p99</th><th>Most</th><th>Clock</th></tr></thead>
    <tbody>${rows.map(([name, values, clock]) => `<tr><td>${name}</td>${[0.5, 0.9, 0.99, 1].map((share) =>
    `<td>${duration(percentile(values, share))}</td>`).join("")}<td>${clock}</td></tr>`).join("")}</tbody></table></div>`);
}

class RequestPlot {
  constructor(parent, found) {
    Object.assign(this, found);
    this.cursor = -1;
    parent.insertAdjacentHTML("beforeend", `<ul class="legend"><li><span class="key dot" style="background:var(--blue)"></span>First token</li>
      <li><span class="key dot" style="background:var(--orange)"></span>Last token</li></ul>
      <div class="plot"><svg tabindex="0" role="img"></svg><div class="tip" role="status" hidden></div></div>`);
    this.plot = parent.querySelector(".plot");
    [this.svg, this.tip] = this.plot.children;
    drawWhenResized(this);
    for (const kind of ["pointerdown", "pointermove"]) {
      this.svg.addEventListener(kind, (event) => this.show(this.nearest(event)));
    }
    this.svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.show(-1));
    this.svg.addEventListener("blur", () => this.show(-1));
    this.svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      this.show(Math.max(0, Math.min(this.who.length - 1, this.cursor + step)));
      event.preventDefault();
    });
  }

  draw() {
    this.width = this.plot.clientWidth;
    if (!this.width) return;
    const box = { left: 52, right: this.width - 8, top: 10, bottom: 206 };
    const least = Math.max(1e-3, Math.min(...this.firstToken)), most = Math.max(...this.whole, least * 1.01);
    // Decades where latencies are far apart.
    const log = most / least > 30, low = log ? 10 ** Math.floor(Math.log10(least)) : 0;
    const up = (value) => (log ? Math.log10(Math.max(value, low) / low) / Math.log10(most / low) : value / most);
    const last = Math.max(...this.arrival, 1e-3);
    this.x = (i) => box.left + (this.arrival[i] / last) * (box.right - box.left - 4);
    this.y = (value) => box.bottom - up(value) * (box.bottom - box.top);
    const levels = log ? [] : ticks(0, most, 4).found;
    for (let at = low; log && at <= most; at *= 10) {
      levels.push(at);
      if (most / low < 1000) levels.push(...[2, 5].map((m) => m * at).filter((v) => v <= most));
    }
    const rows = levels.map((at) => `<line class="grid" x1="${box.left}" x2="${box.right}" y1="${this.y(at)}" y2="${this.y(at)}"/>
      <text x="${box.left - 7}" y="${this.y(at)}" dy="4" text-anchor="end">${+at.toPrecision(3)} s</text>`);
    const { found, step } = ticks(0, last, Math.floor((box.right - box.left) / 90));
    const columns = found.map((at) => {
      const x = box.left + (at / last) * (box.right - box.left - 4);
      return `<text x="${x}" y="${box.bottom + 18}" text-anchor="${x > box.right - 14 ? "end" : "middle"}">${tickText(at, step)} s</text>`;
    });
    const dots = (values, color) => `<path d="${values.map((value, i) => `M${this.x(i).toFixed(1)},${this.y(value).toFixed(1)}h0`).join("")}"
      style="fill:none;stroke:var(--${color});stroke-opacity:.65;stroke-width:${this.who.length > 1000 ? 3.5 : 5.5};stroke-linecap:round"/>`;
    this.svg.setAttribute("viewBox", `0 0 ${this.width} 232`);
    this.svg.setAttribute("height", 232);
    this.svg.setAttribute("aria-label", `Latency of ${grouped(this.who.length)} requests on the virtual clock: first token median ${
      duration(percentile(this.firstToken, 0.5))}, last token median ${duration(percentile(this.whole, 0.5))}. Arrow keys go through the requests.`);
    this.svg.innerHTML = `${rows.join("")}${columns.join("")}<line class="base" x1="${box.left}" x2="${box.right}" y1="${box.bottom}" y2="${box.bottom}"/>` +
      `${dots(this.whole, "orange")}${dots(this.firstToken, "blue")}<g></g>`;
    this.show(-1);
  }

  nearest(event) {
    const box = this.svg.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    let best = -1, least = 40 * 40;
    for (let i = 0; i < this.who.length; ++i) {
      const dx = this.x(i) - x;
      for (const value of [this.firstToken[i], this.whole[i]]) {
        const distance = dx * dx + (this.y(value) - y) ** 2;
        if (distance < least) [best, least] = [i, distance];
      }
    }
    return best;
  }

  show(at) {
    this.cursor = at;
    this.tip.hidden = at < 0;
    if (!this.width) return;
    const over = this.svg.lastElementChild;
    over.innerHTML = "";
    if (at < 0) return;
    const i = this.who[at], x = this.x(at);
    over.innerHTML = [this.firstToken[at], this.whole[at]].map((value) =>
      `<circle cx="${x}" cy="${this.y(value)}" r="6" style="fill:none;stroke:var(--text);stroke-width:1.5"/>`).join("");
    const rows = [["Prompt", `${grouped(requests.prompt_tokens[i])} tokens`], ["Found in the cache", `${grouped(requests.reused_tokens[i])} tokens`],
      ["Output", `${grouped(requests.output_tokens[i])} tokens`], ["First token", duration(this.firstToken[at])], ["Last token", duration(this.whole[at])]];
    this.tip.innerHTML = `<b>Request ${grouped(i)}</b> <span class="quiet">came at ${duration(this.arrival[at])} of virtual clock</span>
      <table>${rows.map(([name, value]) => `<tr><td>${name}</td><td>${value}</td></tr>`).join("")}</table>`;
    placeTip(this.tip, x, this.width);
  }
}

function showEnd() {
  const facts = [["Device", `${summary.device_id}, ${summary.device}`], ["Driver", data.driver], ["Model", data.model],
    ["Cache", `${grouped(summary.cache_blocks)} blocks of ${grouped(summary.page_tokens)} tokens on each rank`],
    ["Digest of the output", summary.output_digest], ["Bytes between ranks", grouped(summary.bytes_communicated)],
    ["Planning on the host", duration(summary.plan_seconds)], ["Oracle on the host", duration(summary.oracle_seconds)]];
  document.getElementById("end").innerHTML = `<p>The same run again:</p><code>${escaped(data.run)}</code>
    <p>The wall clock is what this device took. The virtual clock makes the schedule: there a step costs what its tokens cost, so that
    batches are the same on every device and for any number of PCP ranks.</p>
    <dl>${facts.filter(([, value]) => value).map(([name, value]) => `<dt>${name}</dt><dd>${escaped(value)}</dd>`).join("")}</dl>`;
}

showTop();
showAxis();
showLatency();
showBatch();
showBlocks();
showPrefixHits();
showOperations();
showBalance();
showRequests();
showEnd();
