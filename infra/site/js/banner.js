// Says when what is shown is old, and why.

import { age, clock } from "./format.js";

const $ = (id) => document.getElementById(id);

export class Banner {
  #api; #staleMs;

  constructor(api, staleMs) {
    this.#api = api;
    this.#staleMs = staleMs;
    for (const name of ["failed", "recovered"]) api.addEventListener(name, () => this.update());
    setInterval(() => this.update(), 1000);
  }

  update() {
    if (document.hidden) return; // it is asked anew as soon as somebody looks
    const { answeredAt, failure } = this.#api;
    const agoMs = performance.now() - answeredAt, since = clock(Date.now() - agoMs);
    const stale = agoMs > this.#staleMs;
    let text = "";
    if (failure) text = `The API does not answer: ${failure}.`;
    else if (stale) text = "The API has not been heard of.";
    // Only the text is an alert: what is read aloud must not change every second.
    if ($("banner-text").textContent !== text) $("banner-text").textContent = text;
    $("banner-age").textContent = answeredAt
      ? `What you see is from ${since}, ${age(agoMs)} old.`
      : "There is no data yet.";
    $("banner").hidden = !text;
    if (answeredAt) $("pulse").textContent = text ? `data of ${since}` : `live, ${since}`;
  }
}
