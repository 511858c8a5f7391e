// The list beside the map: the same stalls in words, for whoever does not see the map.

import { age, el, metres, percent, say } from "./format.js";
import { STATES } from "./store.js";

const MOST = 40;
const EVERY_MS = 1000; // a list that changes under the finger cannot be used

export class StallList {
  #map; #timer = 0; #found = null; #shown = new Map();

  constructor(map) {
    this.#map = map;
    this.node = document.getElementById("list");
    this.note = document.getElementById("list-note");
    this.title = document.getElementById("list-title");
    this.clear = document.getElementById("list-clear");
    this.clear.onclick = () => map.near.clear();
  }

  // [{spot, walkM}], nearest first, or null for what is in view.
  showFound(found) {
    this.#found = found;
    this.title.textContent = found ? "Free stalls, nearest first" : "Stalls in view";
    this.clear.hidden = !found;
    this.#draw();
  }

  // Soon; often called.
  update() {
    if (this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#draw();
    }, this.#shown.size ? EVERY_MS : 50);
  }

  mark() {
    const selected = this.#map.scene.selected?.id;
    for (const [id, button] of this.#shown) {
      if (id === selected) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  #draw() {
    const rows = this.#found ?? this.#inView();
    const before = this.#shown;
    this.#shown = new Map();
    const items = rows.slice(0, MOST).map(({ spot, walkM }, k) => {
      // The same button for the same stall, so that it keeps the focus.
      const button = before.get(spot.id) ?? this.#button(spot);
      this.#words(button, spot, this.#found ? k + 1 : null, walkM);
      this.#shown.set(spot.id, button);
      return button.parentElement ?? el("li", {}, button);
    });
    const same = items.length === this.node.children.length
      && items.every((item, k) => item === this.node.children[k]);
    if (!same) {
      const focused = this.node.contains(document.activeElement) ? document.activeElement : null;
      this.node.replaceChildren(...items);
      focused?.isConnected && focused.focus({ preventScroll: true });
    }
    this.mark();
    if (!this.#found) {
      const free = rows.filter(({ spot }) => spot.state === 1).length;
      this.note.textContent = rows.length
        ? `${rows.length} stalls, ${free} of them free`
          + (rows.length > MOST ? `; the ${MOST} nearest to the middle:` : "")
        : "No stall here that the filter shows.";
    } else this.note.textContent = "";
  }

  #inView() {
    const { camera, store, shown } = this.#map, view = camera.view();
    const rows = [];
    for (const spot of store.spots) {
      if (spot.x < view.west || spot.x > view.east || spot.y < view.south || spot.y > view.north) continue;
      if (shown(spot)) rows.push({ spot, away: Math.hypot(spot.x - camera.x, spot.y - camera.y) });
    }
    // Free ones first: who reads the list mostly looks for one.
    return rows.sort((a, b) => (b.spot.state === 1) - (a.spot.state === 1) || a.away - b.away);
  }

  #button(spot) {
    return el("button", {
      type: "button",
      onclick: () => this.#map.select(spot, { focus: true, move: true }),
    }, el("span", { className: "key", ariaHidden: "true" }), el("span"), el("small"));
  }

  #words(button, spot, number, walkM) {
    const [key, name, note] = button.children;
    const state = STATES[spot.state];
    const seen = spot.seen ? `seen ${age(this.#map.store.ageMs(spot.seen))} ago` : "never seen";
    say(name, `${number ? `${number}. ` : ""}${spot.street} · ${spot.id}`);
    say(note, walkM == null
      ? spot.state ? `${state}, ${percent(spot.confidence)}` : state
      : `${metres(walkM)}, ${percent(spot.confidence)}`);
    if (key.className !== `key ${state}`) key.className = `key ${state}`;
    const label = `${name.textContent}, ${state}${spot.state ? `, ${percent(spot.confidence)} certain` : ""}`
      + `${walkM == null ? "" : `, ${metres(walkM)} to walk`}, ${seen}`;
    if (button.getAttribute("aria-label") !== label) button.setAttribute("aria-label", label);
  }
}
