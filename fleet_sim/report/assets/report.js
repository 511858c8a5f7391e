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
  let current = -1;

  const drawing = () => [...plot.querySelectorAll("svg")].find((svg) => svg.getClientRects().length);

  function hide() {
    tip.hidden = true;
    plot.querySelectorAll(".cursor").forEach((cursor) => cursor.classList.remove("on"));
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
  const stalls = [];
  svg.querySelectorAll(".stall").forEach((path, group) => {
    const numbers = path.getAttribute("d").match(/-?\d+(\.\d+)?/g).map(Number);
    const truth = path.classList[1].slice("truth-".length);
    const api = path.classList[2].slice("api-".length);
    facts[group].forEach(([id, percent], i) => {
      const [x, y, dx, dy] = numbers.slice(4 * i, 4 * i + 4);
      stalls.push({ x: x + dx / 2, y: y + dy / 2, id, percent, truth, api });
    });
  });

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
      element("div", "", `truth: ${best.truth}`),
      element("div", "", `API: ${best.api} (${best.percent} % occupied)`),
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

document.querySelectorAll("figure.chart").forEach(setUpChart);
document.querySelectorAll("figure.map").forEach(setUpMap);
