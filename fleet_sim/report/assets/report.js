"use strict";

// Everything is readable without this script: it adds tooltips to charts, and zoom and hover to the map.

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function placeTip(tip, box, x, y) {
  tip.hidden = false;
  const left = Math.min(Math.max(x + 14, 0), box.clientWidth - tip.offsetWidth);
  const onTheLeft = x - tip.offsetWidth - 14;
  tip.style.left = `${x + 14 + tip.offsetWidth > box.clientWidth && onTheLeft >= 0 ? onTheLeft : left}px`;
  tip.style.top = `${Math.min(Math.max(y, 0), Math.max(box.clientHeight - tip.offsetHeight, 0))}px`;
}

function setUpChart(figure) {
  const plot = figure.querySelector(".plot");
  const tip = figure.querySelector(".tip");
  const data = JSON.parse(figure.querySelector("script").textContent);
  const last = data.at.length - 1;
  const axis = figure.dataset.axis;
  const others = axis ? [...document.querySelectorAll(`figure.chart[data-axis="${axis}"]`)] : [];
  let current = -1;

  const drawing = () => [...plot.querySelectorAll("svg")].find((svg) => svg.getClientRects().length);

  function hide() {
    tip.hidden = true;
    for (const each of [figure, ...others]) {
      each.querySelectorAll(".cursor").forEach((cursor) => cursor.classList.remove("on"));
    }
  }

  function show(index, y) {
    const svg = drawing();
    if (!svg || last < 0) return;
    current = index;
    const inside = Number(svg.dataset.left) + data.at[index] * Number(svg.dataset.span);
    const cursor = svg.querySelector(".cursor");
    cursor.setAttribute("x1", inside);
    cursor.setAttribute("x2", inside);
    cursor.classList.add("on");
    for (const other of others) {
      // The same moment in every chart of the axis: their frames are alike.
      const twin = other.querySelector(`svg.${svg.classList[0]} .cursor`);
      twin.setAttribute("x1", inside);
      twin.setAttribute("x2", inside);
      twin.classList.add("on");
    }
    tip.replaceChildren(element("strong", "", data.x[index]));
    for (const line of data.lines) {
      if (line.y[index] === null) continue;
      const row = element("div");
      const dot = element("span", "dot");
      dot.style.background = `var(--c${line.colour % 6})`;
      row.append(dot, `${line.label}: ${line.y[index]}`);
      tip.append(row);
    }
    placeTip(tip, plot, (inside * plot.clientWidth) / Number(svg.dataset.width), y);
  }

  function nearest(share) {
    let low = 0;
    let high = last;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (data.at[middle] < share) low = middle + 1;
      else high = middle;
    }
    return low > 0 && share - data.at[low - 1] < data.at[low] - share ? low - 1 : low;
  }

  plot.addEventListener("pointermove", (event) => {
    const svg = drawing();
    if (!svg) return;
    const box = svg.getBoundingClientRect();
    const inside = ((event.clientX - box.left) * Number(svg.dataset.width)) / box.width;
    show(nearest((inside - Number(svg.dataset.left)) / Number(svg.dataset.span)), event.clientY - box.top + 12);
  });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    if (event.key === "Escape") hide();
    if (step === undefined) return;
    event.preventDefault();
    show(Math.min(Math.max(current + step, 0), last), 12);
  });
}

// The slider's last place is the end of the run, which the page itself shows.
function setUpTime(time, shots, stalls, paths, onChange) {
  const range = time.querySelector("input");
  const told = time.querySelector("output");
  const play = time.querySelector(".play");
  let playing = 0;

  const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")} min`;

  function show() {
    const at = Number(range.value);
    const shot = at < shots.length ? shots[at] : null;
    const drawn = paths.map(() => []);
    stalls.forEach((stall, i) => {
      stall.pair = shot ? Number(shot[1][i]) : stall.atEnd;
      drawn[stall.pair].push(stall.piece);
    });
    paths.forEach((path, pair) => path.setAttribute("d", drawn[pair].join("")));
    told.textContent = shot ? clock(shot[0]) : "end of the run";
    range.setAttribute("aria-valuetext", told.textContent);
    onChange();
  }

  function stop() {
    clearInterval(playing);
    playing = 0;
    play.textContent = "▶";
    play.setAttribute("aria-label", "Play");
  }

  play.addEventListener("click", () => {
    if (playing) return stop();
    if (Number(range.value) >= shots.length) range.value = 0;
    show();
    play.textContent = "⏸";
    play.setAttribute("aria-label", "Pause");
    playing = setInterval(() => {
      range.value = Number(range.value) + 1;
      show();
      if (Number(range.value) >= shots.length) stop();
    }, 500);
  });
  range.addEventListener("input", show);
  time.hidden = false;
}

function setUpMap(figure) {
  const canvas = figure.querySelector(".canvas");
  const svg = canvas.querySelector("svg");
  const tip = canvas.querySelector(".tip");
  const picked = svg.querySelector(".picked");
  const whole = svg.viewBox.baseVal;
  const full = { x: 0, y: 0, width: whole.width, height: whole.height };
  let view = { ...full };

  // The paths hold the stalls in the order of the data: "M x y l dx dy", again and again.
  const facts = JSON.parse(figure.querySelector("script").textContent);
  const paths = [...svg.querySelectorAll(".stall")];
  const stalls = [];
  paths.forEach((path, pair) => {
    for (const piece of path.getAttribute("d").match(/M[^M]+/g) || []) {
      const [x, y, dx, dy] = piece.match(/-?\d+(\.\d+)?/g).map(Number);
      const [id, percent] = facts.spots[stalls.length];
      stalls.push({ x: x + dx / 2, y: y + dy / 2, id, percent, piece, pair, atEnd: pair });
    }
  });
  const time = figure.querySelector(".time");
  if (time) setUpTime(time, facts.shots, stalls, paths, hide);

  function look(next) {
    const width = Math.min(Math.max(next.width, full.width / 40), full.width);
    const height = (width * full.height) / full.width;
    view = {
      x: Math.min(Math.max(next.x, 0), full.width - width),
      y: Math.min(Math.max(next.y, 0), full.height - height),
      width,
      height,
    };
    svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${view.height}`);
    svg.style.setProperty("--m", view.width / (svg.clientWidth || full.width));
  }

  function zoom(factor, x, y) {
    const width = Math.min(Math.max(view.width * factor, full.width / 40), full.width);
    const scale = width / view.width;
    look({ x: x - (x - view.x) * scale, y: y - (y - view.y) * scale, width });
  }

  function inCity(event) {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [at.x, at.y];
  }

  const atEnd = () => !time || Number(time.querySelector("input").value) >= facts.shots.length;

  function hide() {
    tip.hidden = true;
    picked.setAttribute("cx", -99);
  }

  function point(event) {
    const [x, y] = inCity(event);
    let best = null;
    let closest = (view.width / 40) ** 2;
    for (const stall of stalls) {
      const distance = (stall.x - x) ** 2 + (stall.y - y) ** 2;
      if (distance < closest) [best, closest] = [stall, distance];
    }
    if (!best) return hide();
    picked.setAttribute("cx", best.x);
    picked.setAttribute("cy", best.y);
    tip.replaceChildren(
      element("strong", "", best.id),
      element("div", "", `truth: ${facts.pairs[best.pair][0]}`),
      element("div", "", `API: ${facts.pairs[best.pair][1]}${atEnd() ? ` (${best.percent} % occupied)` : ""}`),
    );
    const box = canvas.getBoundingClientRect();
    placeTip(tip, canvas, event.clientX - box.left, event.clientY - box.top + 12);
  }

  figure.querySelectorAll("[data-zoom]").forEach((button) => {
    button.addEventListener("click", () => {
      const step = button.dataset.zoom;
      if (step === "all") look(full);
      else zoom(step === "in" ? 0.6 : 1 / 0.6, view.x + view.width / 2, view.y + view.height / 2);
    });
  });
  svg.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the page scrolls as always
      event.preventDefault();
      zoom(event.deltaY < 0 ? 0.8 : 1.25, ...inCity(event));
    },
    { passive: false },
  );
  let grabbed = null;
  svg.addEventListener("pointerdown", (event) => {
    if (view.width === full.width) return; // nothing to move to; a finger scrolls the page
    grabbed = inCity(event);
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!grabbed) return point(event);
    const [x, y] = inCity(event);
    look({ ...view, x: view.x + grabbed[0] - x, y: view.y + grabbed[1] - y });
  });
  for (const end of ["pointerup", "pointercancel"]) {
    svg.addEventListener(end, () => {
      grabbed = null;
    });
  }
  svg.addEventListener("pointerleave", hide);
  new ResizeObserver(() => look(view)).observe(svg);
}

// Paper cannot be opened: what is closed is printed open, and closed again after.
let opened = [];
window.addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((details) => (details.open = true));
});
window.addEventListener("afterprint", () => {
  opened.forEach((details) => (details.open = false));
  opened = [];
});

document.querySelectorAll("figure.chart").forEach(setUpChart);
document.querySelectorAll("figure.map").forEach(setUpMap);
