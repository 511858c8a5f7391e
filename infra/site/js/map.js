// The page with the map: view, filter, selection, and when to draw.

import { Camera } from "./camera.js";
import { Details } from "./details.js";
import { Painter } from "./draw.js";
import { gestures } from "./gestures.js";
import { StallList } from "./list.js";
import { Near } from "./near.js";
import { FREE } from "./store.js";

const PICK_PX = 14;
const MOST_M = 20000; // from the middle: the API answers for 2,000 km² at most
const CLOSE_SCALE = 3; // px a metre, when one stall is shown
const $ = (id) => document.getElementById(id);

export class MapPage {
  #dirty = false; #settle = 0; #frame = 0;

  // `viewMoved()` when another part of the city is to be asked for.
  constructor(store, api, viewMoved) {
    this.store = store;
    this.camera = new Camera();
    this.canvas = $("canvas");
    this.painter = new Painter(this.canvas);
    this.scene = { selected: null, found: [], place: null, crosshair: false, vehicles: true };
    this.filter = { free: false, confidence: 0 };
    this.viewMoved = viewMoved;
    this.details = new Details(store, api, () => this.select(null));
    this.list = new StallList(this);
    this.near = new Near(this, api);
    gestures(this.canvas, this.camera, {
      moved: () => this.moved(),
      clicked: (x, y, byKey) => this.#clicked(x, y, byKey),
      fit: () => this.fit(),
    });
    this.#tools();
    new ResizeObserver(() => this.#resize()).observe($("map"));
    store.addEventListener("city", () => this.#newCity());
    for (const name of ["spots", "vehicles"]) store.addEventListener(name, () => this.#told(name));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.recolour());
  }

  shown = (spot) =>
    (!this.filter.free || spot.state === FREE) && spot.confidence >= this.filter.confidence;

  // Degrees; what is asked of the API. A little more than is seen, and no more than there is.
  box() {
    const { store, camera } = this;
    if (store.bounds.empty) return null;
    const view = camera.view(40), b = store.bounds, p = store.projection, edge = 20;
    const { x, y } = camera;
    const west = Math.max(view.west, b.west - edge, x - MOST_M);
    const east = Math.min(view.east, b.east + edge, x + MOST_M);
    const south = Math.max(view.south, b.south - edge, y - MOST_M);
    const north = Math.min(view.north, b.north + edge, y + MOST_M);
    if (west > east || south > north) return null;
    return [p.lon(west), p.lat(south), p.lon(east), p.lat(north)].map((v) => v.toFixed(5)).join(",");
  }

  select(spot, { focus = false, move = false } = {}) {
    this.scene.selected = spot;
    this.details.show(spot, focus);
    if (spot && move) this.goTo(spot.x, spot.y);
    this.list.mark();
    this.redraw();
  }

  goTo(x, y, scale = CLOSE_SCALE) {
    this.camera.centre(x, y, Math.max(this.camera.scale, scale));
    this.moved();
  }

  fit() {
    this.camera.fit(this.store.bounds);
    this.camera.farthest = this.camera.scale / 4;
    this.moved();
  }

  moved() {
    this.redraw();
    clearTimeout(this.#settle);
    this.#settle = setTimeout(() => {
      this.list.update();
      this.viewMoved();
    }, 250);
  }

  redraw() {
    if (this.#dirty) return;
    this.#dirty = true;
    this.#frame = requestAnimationFrame(() => {
      this.#dirty = false;
      if (this.canvas.clientWidth) this.painter.paint(this.store, this.camera, this.shown, this.scene);
    });
  }

  recolour() {
    this.painter.readColours();
    this.redraw();
  }

  #newCity() {
    this.scene = { ...this.scene, selected: null, found: [], place: null };
    this.details.show(null);
    $("attribution").textContent = this.store.attribution;
    this.near.streets();
    this.fit();
  }

  #told(what) {
    if (what === "spots") {
      this.list.update();
      this.details.refresh();
    }
    this.redraw();
  }

  #clicked(x, y, byKey = false) {
    const { camera, store } = this;
    if (!store.projection) return;
    if (this.near.takes(camera.wx(x), camera.wy(y))) return;
    // With keys the crosshair reaches farther: it cannot be put onto a stall so finely.
    const spot = this.#nearest(camera.wx(x), camera.wy(y), (byKey ? 10 : 1) * PICK_PX / camera.scale);
    this.select(spot, { focus: byKey && spot !== null });
  }

  #nearest(x, y, reach) {
    let best = null;
    for (const spot of this.store.spots) {
      const away = Math.hypot(spot.x - x, spot.y - y);
      if (away < reach && this.shown(spot)) [best, reach] = [spot, away];
    }
    return best;
  }

  #resize() {
    const { canvas, camera } = this, ratio = Math.min(2, devicePixelRatio || 1);
    const first = camera.width === 1;
    camera.width = canvas.clientWidth || 1;
    camera.height = canvas.clientHeight || 1;
    canvas.width = Math.round(camera.width * ratio);
    canvas.height = Math.round(camera.height * ratio);
    if (first) this.fit();
    else this.moved();
  }

  #tools() {
    $("zoom-in").onclick = () => { this.camera.zoom(1.6); this.moved(); };
    $("zoom-out").onclick = () => { this.camera.zoom(1 / 1.6); this.moved(); };
    $("fit").onclick = () => this.fit();
    $("filter").onsubmit = (event) => event.preventDefault();
    const refilter = () => {
      this.filter = { free: $("only-free").checked, confidence: Number($("confidence").value) / 100 };
      $("confidence-value").value = `${$("confidence").value} %`;
      this.scene.vehicles = $("show-vehicles").checked;
      this.list.update();
      this.redraw();
    };
    for (const id of ["only-free", "show-vehicles", "confidence"]) $(id).addEventListener("input", refilter);
    refilter(); // a reload keeps what was chosen
    for (const name of ["focus", "blur"]) {
      this.canvas.addEventListener(name, () => {
        this.scene.crosshair = name === "focus" && this.canvas.matches(":focus-visible");
        this.redraw();
      });
    }
  }
}
