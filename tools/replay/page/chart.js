// SPDX-License-Identifier: Apache-2.0
"use strict";
// Plots over the steps of a run. All share one horizontal axis, one zoom and one cursor.

const escaped = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const grouped = (n) => Math.round(n).toLocaleString("en-US");
const fixed = (n, digits) =>
  n.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const percent = (share) => `${fixed(share * 100, 1)} %`;

// Three digits that count, with the unit that suits.
function scaled(n, units) {
  if (!(Math.abs(n) > 0)) return `0 ${units[units.length - 1][1]}`.trim();
  const [size, unit] = units.find(([least]) => Math.abs(n) >= least * 0.9995) || units[units.length - 1];
  const value = n / size;
  const digits = Math.abs(value) >= 99.95 ? 0 : Math.abs(value) >= 9.995 ? 1 : 2;
  return `${fixed(value, digits)} ${unit}`.trim();
}
const duration = (s) => scaled(s, [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]]);
const compact = (n) => (Number.isInteger(n) && Math.abs(n) < 10000 ? grouped(n)
  : scaled(n, [[1e9, "G"], [1e6, "M"], [1e4, "k"], [1, ""]].map(([size, unit]) =>
    (unit === "k" ? [1e3, unit] : [size, unit]))).replace(/ (?=[GMk]$)/, ""));

// About `count` round numbers from low to high.
function ticks(low, high, count) {
  const rough = (high - low) / Math.max(count, 1) || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((m) => m * power >= rough * 0.999) || 10);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i) found.push(i * step || 0);
  return { found, step };
}

function tickText(value, step) {
  if (Math.abs(value) >= 10000) return compact(value);
  return fixed(value, Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
}

// What all plots show: steps [from, to), and where the cursor stands (-1: nowhere).
const view = { axis: null, from: 0, to: 0, all: 0, cursor: -1, plots: [], onZoom: () => {} };

function zoomTo(from, to) {
  view.from = Math.max(0, Math.min(from, view.all - 1));
  view.to = Math.min(view.all, Math.max(to, view.from + 1));
  view.onZoom(view.from > 0 || view.to < view.all);
  drawAll();
}

function drawAll() {
  for (const plot of view.plots) plot.draw();
}

function setCursor(step, owner) {
  view.cursor = step;
  for (const plot of view.plots) plot.showCursor(plot === owner);
}

// Runs of whole steps, at most `limit` of them, for [view.from, view.to).
function stepGroups(limit) {
  const size = Math.max(1, Math.ceil((view.to - view.from) / Math.max(1, limit)));
  const groups = [];
  for (let from = view.from; from < view.to; from += size) {
    groups.push({ from, to: Math.min(from + size, view.to) });
  }
  return groups;
}

const stepsText = ({ from, to }) => (to - from > 1 ? `Steps ${grouped(from)} to ${grouped(to - 1)}` : `Step ${grouped(from)}`);

// A series' mean, least and most over a group; null where it has no value.
function summaryOf(series, group) {
  let sum = 0, count = 0, low = Infinity, high = -Infinity;
  if (series.cumulative) group = { from: group.to - 1, to: group.to };
  for (let i = group.from; i < group.to; ++i) {
    const value = series.value(i);
    if (value === null) continue;
    sum += value;
    ++count;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return count ? { mean: sum / count, low, high } : null;
}

// options: {
//   title, label    of the plot, for those who cannot see it
//   series          [{name, color, value(step) -> number or null, cumulative}]
//   stacked         areas on top of each other instead of lines
//   hold            a value holds until the next step, also over time between steps
//   format(value)   with its unit
//   axis            [size, unit] of the numbers of the axis, in the series' unit ([1, ""]);
//                   "time" for seconds with the unit that suits
//   low, high       of the vertical axis, where they are given
//   marks           [{value, text}] horizontal lines
//   tall            pixels (200)
// }
class StepPlot {
  constructor(parent, options) {
    this.options = options;
    parent.insertAdjacentHTML("beforeend", `
      <ul class="legend">${options.series.map((s) =>
    `<li><span class="key" style="background:var(--${s.color})"></span>${escaped(s.name)}</li>`).join("")}</ul>
      <div class="plot"></div>
      <details><summary>Values</summary><div class="scroll"></div></details>`);
    this.plot = parent.querySelector(":scope > .plot:last-of-type");
    this.details = parent.querySelector(":scope > details:last-of-type");
    this.plot.innerHTML = `<svg tabindex="0" role="img"></svg><div class="tip" role="status" hidden></div>`;
    [this.svg, this.tip] = this.plot.children;
    this.details.addEventListener("toggle", () => this.drawTable());
    this.listen();
    view.plots.push(this);
    drawWhenResized(this);
  }

  draw() {
    const { options } = this;
    this.width = this.plot.clientWidth;
    if (!this.width) return;
    const box = this.box = { left: 0, right: this.width - 6, top: 8, bottom: (options.tall || 200) - 24 };
    this.groups = stepGroups((box.right - 50) / 2);
    this.values = this.groups.map((group) => options.series.map((s) => summaryOf(s, group)));
    this.scaleY();
    this.scaleX();
    const height = box.bottom + 24;
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${height}`);
    this.svg.setAttribute("height", height);
    this.svg.setAttribute("aria-label", this.spoken());
    this.svg.innerHTML = this.axes() + (options.stacked ? this.areas() : this.lines()) + this.marks() +
      `<g class="over"></g>`;
    this.over = this.svg.lastElementChild;
    this.showCursor(false);
    this.drawTable();
  }

  scaleX() {
    const { box } = this;
    box.left = 11 + 7.4 * Math.max(...this.yTicks.map(({ text }) => text.length));
    const first = view.axis.start(view.from), last = view.axis.end(view.to - 1);
    const span = last - first || 1;
    this.x = (at) => box.left + ((at - first) / span) * (box.right - box.left);
    this.xDomain = [first, last];
    for (const group of this.groups) {
      group.x0 = this.x(view.axis.start(group.from));
      group.x1 = this.x(view.axis.end(group.to - 1));
    }
  }

  scaleY() {
    const { options, box } = this;
    let high = options.high;
    if (high === undefined) {
      high = -Infinity;
      for (const row of this.values) {
        const present = row.filter((value) => value !== null);
        if (!present.length) continue;
        high = Math.max(high, options.stacked ? present.reduce((sum, v) => sum + v.mean, 0)
          : Math.max(...present.map((v) => v.high)));
      }
      for (const mark of options.marks || []) high = Math.max(high, mark.value);
    }
    const low = options.low || 0;
    const times = [[1, " s"], [1e-3, " ms"], [1e-6, " µs"]];
    const [size, unit] = options.axis === "time" ? times.find(([least]) => high >= least) || times[2] : options.axis || [1, ""];
    if (!(high > low)) high = low + size;
    const { found, step } = ticks(low / size, high / size, 5);
    if (options.high === undefined && found[found.length - 1] < (high / size) * (1 - 1e-9)) {
      found.push(found[found.length - 1] + step);
      high = Math.max(high, found[found.length - 1] * size);
    }
    this.yTicks = found.map((value) => ({ at: value * size, text: tickText(value, step) + unit }));
    this.y = (value) => box.bottom - ((value - low) / (high - low)) * (box.bottom - box.top);
  }

  axes() {
    const { box } = this;
    const rows = this.yTicks.map(({ at, text }) => {
      const y = this.y(at).toFixed(1);
      return `<line class="grid" x1="${box.left}" x2="${box.right}" y1="${y}" y2="${y}"/>` +
        `<text x="${box.left - 7}" y="${y}" dy="4" text-anchor="end">${text}</text>`;
    });
    const [first, last] = this.xDomain;
    const { found, step } = ticks(first, last, Math.floor((box.right - box.left) / 90));
    const columns = found.filter((at) => !view.axis.whole || Number.isInteger(at)).map((at) => {
      const x = this.x(at), anchor = x > box.right - 14 ? "end" : x < box.left + 10 ? "start" : "middle";
      return `<text x="${x.toFixed(1)}" y="${box.bottom + 17}" text-anchor="${anchor}">${tickText(at, step)}${view.axis.unit}</text>`;
    });
    return rows.join("") + columns.join("") +
      `<line class="base" x1="${box.left}" x2="${box.right}" y1="${box.bottom}" y2="${box.bottom}"/>`;
  }

  // [x0, x1, row of values], with rows of zeros over the time between steps.
  pieces() {
    const found = [];
    this.groups.forEach((group, i) => {
      const next = this.groups[i + 1];
      const idle = next && !this.options.hold && next.x0 - group.x1 > 1;
      const row = this.values[i].map((value) => (value ? value.mean : 0));
      found.push([group.x0, next && !idle ? next.x0 : group.x1, row]);
      if (idle) found.push([group.x1, next.x0, row.map(() => 0)]);
    });
    return found;
  }

  areas() {
    const pieces = this.pieces();
    let below = pieces.map(() => 0);
    return this.options.series.map((series, k) => {
      const above = pieces.map((piece, i) => below[i] + piece[2][k]);
      const edge = (levels, i) => {
        const y = this.y(levels[i]).toFixed(1);
        return [`${pieces[i][0].toFixed(1)},${y}`, `${pieces[i][1].toFixed(1)},${y}`];
      };
      const top = pieces.flatMap((_, i) => edge(above, i));
      const bottom = pieces.flatMap((_, i) => edge(below, i)).reverse();
      below = above;
      return `<path d="M${top.join("L")}L${bottom.join("L")}Z" style="fill:var(--${series.color});fill-opacity:.85"/>`;
    }).join("");
  }

  lines() {
    const { groups } = this;
    return this.options.series.map((series, k) => {
      let line = "", band = "", open = false;
      groups.forEach((group, i) => {
        const value = this.values[i][k];
        if (value === null) {
          open = false;
          return;
        }
        const next = groups[i + 1];
        const x0 = group.x0.toFixed(1), x1 = (next ? next.x0 : group.x1).toFixed(1), y = this.y(value.mean).toFixed(1);
        line += `${open ? "L" : "M"}${x0},${y}L${x1},${y}`;
        open = true;
        if (value.high > value.low) {
          const top = this.y(value.high).toFixed(1), bottom = this.y(value.low).toFixed(1);
          band += `M${x0},${top}H${x1}V${bottom}H${x0}Z`;
        }
      });
      const fill = `fill:var(--${series.color});fill-opacity:.25`;
      return (band && `<path d="${band}" style="${fill}"/>`) +
        `<path d="${line}" style="fill:none;stroke:var(--${series.color});stroke-width:1.6;stroke-linejoin:round"/>`;
    }).join("");
  }

  marks() {
    let taken = this.box.bottom + 18;
    return (this.options.marks || []).slice().sort((a, b) => a.value - b.value).map((mark) => {
      const y = this.y(mark.value);
      // From the lowest up: labels stand on their line, or on the label below.
      const at = Math.max(this.box.top + 10, Math.min(y - 4, taken - 15));
      taken = at;
      return `<line x1="${this.box.left}" x2="${this.box.right}" y1="${y}" y2="${y}" style="stroke:var(--quiet);stroke-dasharray:5 4"/>` +
        `<text x="${this.box.right - 2}" y="${at.toFixed(1)}" text-anchor="end" style="paint-order:stroke;stroke:var(--card);stroke-width:4">${escaped(mark.text)}</text>`;
    }).join("");
  }

  spoken() {
    const { options } = this;
    const whole = { from: view.from, to: view.to };
    const parts = options.series.map((series) => {
      const value = summaryOf(series, whole);
      if (!value) return `${series.name}: no value`;
      if (series.cumulative) return `${series.name}: ${options.format(value.mean)} at the end`;
      return `${series.name}: mean ${options.format(value.mean)}, most ${options.format(value.high)}`;
    });
    return `${options.label}. ${stepsText(whole)}. ${parts.join("; ")}. Arrow keys move a cursor, plus and minus zoom.`;
  }

  valueText(series, value) {
    const { format } = this.options;
    if (!value) return "none";
    if (value.high > value.low && !series.cumulative) {
      return `${format(value.mean)} <span class="quiet">(${format(value.low)} to ${format(value.high)})</span>`;
    }
    return format(value.mean);
  }

  showCursor(withTip) {
    if (!this.over) return;
    const at = view.cursor < view.from || view.cursor >= view.to ? -1
      : this.groups.findIndex((group) => view.cursor >= group.from && view.cursor < group.to);
    this.tip.hidden = at < 0 || !withTip;
    if (at < 0) {
      this.over.innerHTML = "";
      return;
    }
    const group = this.groups[at], x = (group.x0 + group.x1) / 2;
    this.over.innerHTML = `<line class="cursor" x1="${x}" x2="${x}" y1="${this.box.top}" y2="${this.box.bottom}"/>`;
    if (!withTip) return;
    const rows = this.options.series.map((series, k) => `<tr><td><span class="key" style="background:var(--${series.color})"></span>` +
      `${escaped(series.name)}</td><td>${this.valueText(series, this.values[at][k])}</td></tr>`);
    this.tip.innerHTML = `<b>${stepsText(group)}</b> <span class="quiet">${view.describe(group)}</span><table>${rows.join("")}</table>`;
    placeTip(this.tip, x, this.width);
  }

  drawTable() {
    if (!this.details.open) return;
    const { series } = this.options;
    const rows = stepGroups(60).map((group) => {
      const cells = series.map((s) => `<td>${this.valueText(s, summaryOf(s, group))}</td>`);
      return `<tr><td>${grouped(group.from)}${group.to - group.from > 1 ? ` to ${grouped(group.to - 1)}` : ""}</td>${cells.join("")}</tr>`;
    });
    this.details.lastElementChild.innerHTML = `<p class="quiet">Means; in brackets the least and the most of these steps</p>
      <table class="data values"><thead><tr><th>Steps</th>` +
      `${series.map((s) => `<th>${escaped(s.name)}</th>`).join("")}</tr></thead><tbody>${rows.join("")}</tbody></table>`;
  }

  // ---- Pointer and keys
  groupAt(event) {
    const x = event.clientX - this.svg.getBoundingClientRect().left;
    let best = 0;
    this.groups.forEach((group, i) => {
      if (group.x0 <= x) best = i;
    });
    return this.groups[best];
  }

  listen() {
    const { svg } = this;
    let drag = null;
    const finish = () => {
      if (drag && drag.to.from !== drag.from.from) {
        const [a, b] = drag.from.from < drag.to.from ? [drag.from, drag.to] : [drag.to, drag.from];
        drag = null;
        zoomTo(a.from, b.to);
      }
      drag = null;
    };
    svg.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "mouse") setCursor(this.groupAt(event).from, this);
      if (event.pointerType !== "mouse" || event.button !== 0) return;
      drag = { from: this.groupAt(event), to: this.groupAt(event) };
      svg.setPointerCapture(event.pointerId);
    });
    svg.addEventListener("pointermove", (event) => {
      const group = this.groupAt(event);
      setCursor(group.from, this);
      if (!drag) return;
      drag.to = group;
      const low = Math.min(drag.from.x0, group.x0), high = Math.max(drag.from.x1, group.x1);
      this.over.innerHTML += `<rect class="zoom" x="${low}" width="${high - low}" y="${this.box.top}" height="${this.box.bottom - this.box.top}"/>`;
    });
    svg.addEventListener("pointerup", finish);
    svg.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse" && !drag) setCursor(-1, this);
    });
    svg.addEventListener("blur", () => setCursor(-1, this));
    svg.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const size = this.groups[0].to - this.groups[0].from, span = view.to - view.from;
    const inside = view.cursor >= view.from && view.cursor < view.to;
    const cursor = inside ? view.cursor : view.from;
    const moves = { ArrowRight: inside ? cursor + size : cursor, ArrowLeft: cursor - size, Home: view.from, End: view.to - 1 };
    if (event.key in moves) {
      setCursor(Math.max(view.from, Math.min(view.to - 1, moves[event.key])), this);
    } else if (event.key === "+" || event.key === "-") {
      const half = Math.max(1, Math.round(event.key === "+" ? span / 4 : span));
      zoomTo(cursor - half, cursor + half);
      setCursor(cursor, this);
    } else if (event.key === "Escape") {
      zoomTo(0, view.all);
      setCursor(-1, this);
    } else {
      return;
    }
    event.preventDefault();
  }
}

// Not at once: what draws changes sizes itself.
function drawWhenResized(plot) {
  new ResizeObserver(() => requestAnimationFrame(() => {
    if (plot.plot.clientWidth !== plot.width) plot.draw();
  })).observe(plot.plot);
}

// Beside the cursor; above the plot where that would hide most of it.
function placeTip(tip, x, width) {
  const narrow = width < 500;
  tip.style.top = narrow ? "auto" : "";
  tip.style.bottom = narrow ? "calc(100% + 4px)" : "";
  tip.style.left = "0";
  const wanted = x > width / 2 ? x - 12 - tip.offsetWidth : x + 12;
  tip.style.left = `${Math.round(Math.max(0, Math.min(wanted, width - tip.offsetWidth)))}px`;
}
