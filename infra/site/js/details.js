// What is known of the stall that was chosen.

import { age, count, el, facts, percent, stamp } from "./format.js";
import { STATES } from "./store.js";

const REFRESH_MS = 3000;
const MOST = 12;

export class Details {
  #store; #api; #spot = null; #asked = 0;

  constructor(store, api, closed) {
    this.#store = store;
    this.#api = api;
    this.node = document.getElementById("details");
    this.facts = document.getElementById("details-facts");
    this.history = document.getElementById("details-history");
    this.title = document.getElementById("details-title");
    const close = () => {
      closed();
      document.getElementById("canvas").focus();
    };
    document.getElementById("details-close").onclick = close;
    this.node.addEventListener("keydown", (event) => event.key === "Escape" && close());
  }

  show(spot, focus = false) {
    this.#spot = spot;
    this.node.hidden = !spot;
    if (!spot) return;
    this.title.textContent = `Stall ${spot.id}`;
    this.history.replaceChildren();
    this.#asked = 0;
    this.refresh();
    this.node.scrollIntoView({ block: "nearest" });
    if (focus) this.node.focus();
  }

  refresh() {
    const spot = this.#spot;
    if (!spot) return;
    facts(this.facts, [
      ["street", spot.street],
      ["state", STATES[spot.state]],
      ["belief that it is occupied", percent(spot.p)],
      ["certainty", percent(spot.confidence)],
      ["last seen", spot.seen ? `${age(this.#store.ageMs(spot.seen))} ago` : "never"],
      ["rests on", `${count(spot.observations)} recent looks`],
      ["position", `${spot.lat.toFixed(5)}, ${spot.lon.toFixed(5)}`],
    ]);
    if (performance.now() - this.#asked > REFRESH_MS || !this.#asked) this.#ask(spot);
  }

  async #ask(spot) {
    this.#asked = performance.now();
    let body;
    try {
      ({ body } = await this.#api.get(`/spots/${encodeURIComponent(spot.id)}`));
    } catch {
      return; // the banner says so; what was known stays
    }
    if (this.#spot !== spot) return;
    const looks = body.recent ?? []; // newest first
    if (!looks.length) return;
    this.history.replaceChildren(
      el("h4", {}, "Recent looks"),
      el("ol", { className: "looks" }, ...looks.slice(0, MOST).map(({ ts, vin, llr }) => {
        const p = 1 / (1 + Math.exp(-Math.abs(llr))); // of that look alone
        const state = llr > 0 ? "occupied" : "free";
        return el("li", {}, `${stamp(ts)}: ${state}, ${percent(p)}, by ${vin}`);
      })),
    );
  }
}
