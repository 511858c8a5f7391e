// Draws the map. One canvas, all of it anew each frame: what is cheap is drawn in few large batches.

import { FREE, OCCUPIED, UNKNOWN } from "./store.js";

const WIDTH_M = 2.2; // of a stall
const DETAIL_PX = 7; // a stall at least this long is drawn as it lies
const LANE_M = 3.5;
const LEVELS = 4; // of certainty, paler to full
const LABEL_SCALE = 0.9; // px a metre
const COLOURS = [
  "land", "street", "street-edge", "label", "free", "occupied", "unknown", "vehicle", "found", "card",
  "ink",
];

export class Painter {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.frames = 0;
    this.frameMs = []; // CPU time of the newest frames
    this.readColours();
  }

  readColours() {
    const style = getComputedStyle(document.documentElement);
    this.colours = Object.fromEntries(
      COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]),
    );
  }

  // `shown(spot)`: whether the filter lets it through. `scene`: selected, found, place, crosshair.
  paint(store, camera, shown, scene) {
    const begun = performance.now();
    const { context: c, canvas, colours } = this;
    const ratio = canvas.width / camera.width;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.globalAlpha = 1;
    c.fillStyle = colours.land;
    c.fillRect(0, 0, camera.width, camera.height);
    this.#streets(store, camera);
    this.#stalls(store, camera, shown);
    if (scene.vehicles) this.#vehicles(store, camera);
    this.#scene(camera, scene);
    this.#scaleBar(camera);
    this.frames += 1;
    this.frameMs.push(performance.now() - begun);
    if (this.frameMs.length > 600) this.frameMs.shift();
  }

  #streets(store, camera) {
    const { context: c, colours } = this, view = camera.view(20);
    const widths = new Map(); // px → lines
    for (const line of store.lines) {
      if (Math.max(line.x1, line.x2) < view.west || Math.min(line.x1, line.x2) > view.east) continue;
      if (Math.max(line.y1, line.y2) < view.south || Math.min(line.y1, line.y2) > view.north) continue;
      const width = Math.max(1.2, line.lanes * LANE_M * camera.scale);
      if (!widths.has(width)) widths.set(width, []);
      widths.get(width).push(line);
    }
    c.lineCap = "round";
    for (const [colour, more] of [[colours["street-edge"], 1.6], [colours.street, 0]]) {
      c.strokeStyle = colour;
      for (const [width, lines] of widths) {
        c.lineWidth = width + more;
        c.beginPath();
        for (const line of lines) {
          c.moveTo(camera.sx(line.x1), camera.sy(line.y1));
          c.lineTo(camera.sx(line.x2), camera.sy(line.y2));
        }
        c.stroke();
      }
    }
    if (camera.scale >= LABEL_SCALE) this.#labels(store, camera, [...widths.values()].flat());
  }

  #labels(store, camera, lines) {
    const { context: c, colours } = this;
    c.fillStyle = colours.label;
    c.font = "12px system-ui, sans-serif";
    c.textAlign = "center";
    c.textBaseline = "middle";
    const taken = new Map(); // street → where its labels are
    for (const line of lines) {
      const name = store.streets[line.street];
      const ax = camera.sx(line.x1), ay = camera.sy(line.y1);
      const bx = camera.sx(line.x2), by = camera.sy(line.y2);
      const x = (ax + bx) / 2, y = (ay + by) / 2;
      if (!name || Math.hypot(bx - ax, by - ay) < 7 * name.length) continue;
      if (x < 0 || y < 0 || x > camera.width || y > camera.height) continue;
      const near = taken.get(name) ?? [];
      if (near.some(([u, v]) => Math.hypot(x - u, y - v) < 250)) continue;
      taken.set(name, [...near, [x, y]]);
      let angle = Math.atan2(by - ay, bx - ax);
      if (Math.abs(angle) > Math.PI / 2 + 1e-6) angle += Math.PI; // never upside down
      c.save();
      c.translate(x, y);
      c.rotate(angle);
      c.fillText(name, 0, 0);
      c.restore();
    }
  }

  #stalls(store, camera, shown) {
    const view = camera.view(12);
    const batches = Array.from({ length: 3 * LEVELS }, () => []);
    for (const spot of store.spots) {
      if (spot.x < view.west || spot.x > view.east) continue;
      if (spot.y < view.south || spot.y > view.north || !shown(spot)) continue;
      const level = Math.min(LEVELS - 1, Math.floor(spot.confidence * LEVELS));
      batches[spot.state * LEVELS + level].push(spot);
    }
    const { context: c, colours } = this;
    const names = { [UNKNOWN]: "unknown", [FREE]: "free", [OCCUPIED]: "occupied" };
    batches.forEach((spots, k) => {
      if (!spots.length) return;
      const state = Math.floor(k / LEVELS);
      c.fillStyle = c.strokeStyle = colours[names[state]];
      c.globalAlpha = state === UNKNOWN ? 0.6 : (1 + k % LEVELS) / LEVELS * 0.7 + 0.3;
      if (6.7 * camera.scale < DETAIL_PX) this.#dots(spots, state, camera);
      else this.#boxes(spots, state, camera);
    });
    c.globalAlpha = 1;
  }

  // Far away: squares on whole pixels, which need no smoothing. What is free is larger.
  #dots(spots, state, camera) {
    const { context: c } = this;
    const size = Math.max(2, Math.min(5, Math.round(6.7 * camera.scale))) + (state === FREE ? 1 : 0);
    const half = size >> 1;
    for (const spot of spots) {
      c.fillRect((camera.sx(spot.x) - half) | 0, (camera.sy(spot.y) - half) | 0, size, size);
    }
  }

  // Near: the stall as it lies; free ones full, occupied ones hollow, unknown ones small.
  #boxes(spots, state, camera) {
    const { context: c } = this, { scale } = camera;
    const share = state === UNKNOWN ? 0.5 : 0.88;
    c.beginPath();
    for (const spot of spots) {
      const x = camera.sx(spot.x), y = camera.sy(spot.y);
      const along = spot.length * scale * share / 2, across = WIDTH_M * scale * share / 2;
      const ax = spot.ux * along, ay = -spot.uy * along;
      const bx = spot.uy * across, by = spot.ux * across;
      c.moveTo(x + ax + bx, y + ay + by);
      c.lineTo(x + ax - bx, y + ay - by);
      c.lineTo(x - ax - bx, y - ay - by);
      c.lineTo(x - ax + bx, y - ay + by);
      c.closePath();
    }
    c.lineWidth = Math.max(1, 0.3 * scale);
    if (state === OCCUPIED) c.stroke();
    else c.fill();
  }

  #vehicles(store, camera) {
    const { context: c, colours } = this, { projection } = store;
    if (!projection) return;
    const size = Math.max(4, Math.min(9, 2.4 * camera.scale + 2));
    c.fillStyle = colours.vehicle;
    c.strokeStyle = colours.card;
    c.lineWidth = 1;
    c.beginPath();
    for (const vehicle of store.vehicles.values()) {
      const x = camera.sx(projection.x(vehicle.lon)), y = camera.sy(projection.y(vehicle.lat));
      if (x < -9 || y < -9 || x > camera.width + 9 || y > camera.height + 9) continue;
      const angle = vehicle.heading_deg * Math.PI / 180;
      const ux = Math.sin(angle) * size, uy = -Math.cos(angle) * size;
      c.moveTo(x + 1.3 * ux, y + 1.3 * uy);
      c.lineTo(x - ux - 0.8 * uy, y - uy + 0.8 * ux);
      c.lineTo(x - 0.4 * ux, y - 0.4 * uy);
      c.lineTo(x - ux + 0.8 * uy, y - uy - 0.8 * ux);
      c.closePath();
    }
    c.fill();
    c.stroke();
  }

  #scene(camera, { selected, found, place, crosshair }) {
    const { context: c, colours } = this;
    c.font = "600 12px system-ui, sans-serif";
    c.textAlign = "center";
    c.textBaseline = "middle";
    // The nearest last: where they overlap it lies on top.
    for (let k = found.length - 1; k >= 0; k -= 1) {
      const x = camera.sx(found[k].x), y = camera.sy(found[k].y);
      c.fillStyle = colours.found;
      c.strokeStyle = colours.card;
      c.lineWidth = 1.5;
      c.beginPath();
      c.arc(x, y, 10, 0, 7);
      c.fill();
      c.stroke();
      c.fillStyle = colours.card;
      c.fillText(String(k + 1), x, y);
    }
    c.lineWidth = 3;
    if (place) this.#ring(camera.sx(place.x), camera.sy(place.y), 7, colours.found);
    if (selected) this.#ring(camera.sx(selected.x), camera.sy(selected.y), 13, colours.ink);
    if (crosshair) {
      const x = camera.width / 2, y = camera.height / 2;
      c.strokeStyle = colours.ink;
      c.lineWidth = 1.5;
      c.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        c.moveTo(x + 5 * dx, y + 5 * dy);
        c.lineTo(x + 16 * dx, y + 16 * dy);
      }
      c.stroke();
    }
  }

  #ring(x, y, radius, colour) {
    const { context: c } = this;
    c.strokeStyle = colour;
    c.beginPath();
    c.arc(x, y, radius, 0, 7);
    c.stroke();
  }

  #scaleBar(camera) {
    const { context: c, colours } = this;
    const metres = [5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find(
      (m) => m * camera.scale > 60,
    ) ?? 10000;
    const width = metres * camera.scale, x = camera.width - 14, y = camera.height - 30;
    c.strokeStyle = c.fillStyle = colours.ink;
    c.lineWidth = 1.5;
    c.beginPath();
    c.moveTo(x - width, y - 5);
    c.lineTo(x - width, y);
    c.lineTo(x, y);
    c.lineTo(x, y - 5);
    c.stroke();
    c.font = "11px system-ui, sans-serif";
    c.textAlign = "right";
    c.textBaseline = "bottom";
    c.fillText(metres < 1000 ? `${metres} m` : `${metres / 1000} km`, x - 3, y - 2);
  }
}
