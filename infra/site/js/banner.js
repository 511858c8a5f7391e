// Says when what is shown is old, and why.

import { age, clock, say } from "./format.js";

const $ = (id) => document.getElementById(id);

export class Banner {
  #api; #store; #staleMs;

  constructor(api, store, staleMs) {
    this.#api = api;
    this.#store = store;
    this.#staleMs = staleMs;
    for (const name of ["failed", "recovered"]) api.addEventListener(name, () => this.update());
    store.addEventListener("summary", () => this.update());
    setInterval(() => this.update(), 1000);
  }

  update() {
    if (document.hidden) return; // it is asked anew as soon as somebody looks
    const { answeredAt, failure } = this.#api;
    const agoMs = performance.now() - answeredAt, since = clock(Date.now() - agoMs);
    const { summary } = this.#store;
    let text = "", old = true;
    if (failure) text = `The API does not answer: ${failure}.`;
    else if (agoMs > this.#staleMs) text = "The API has not been heard of.";
    else if (summary?.vehicles && !summary.online) {
      text = "No vehicle has reported for a minute or longer: what you see is what was known last.";
      old = false; // the API's answers are new
    }
    // Only the text is an alert: what is read aloud must not change every second.
    say($("banner-text"), text);
    $("banner-age").textContent = !old ? "" : answeredAt
      ? `What you see is from ${since}, ${age(agoMs)} old.`
      : "There is no data yet.";
    $("banner").hidden = !text;
    if (answeredAt) $("pulse").textContent = text && old ? `data of ${since}` : `live, ${since}`;
  }
}
