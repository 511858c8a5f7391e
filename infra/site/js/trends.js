// How full a street usually is, by hour of the week.

import { el, percent } from "./format.js";

const DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

export class TrendsPage {
  #api; #node; #street = null;

  constructor(api) {
    this.#api = api;
    this.#node = document.getElementById("trends");
  }

  async refresh() {
    const query = this.#street ? `?street=${encodeURIComponent(this.#street)}` : "";
    let body;
    try {
      ({ body } = await this.#api.get(`/trends${query}`));
    } catch (error) {
      if (!error.missing) throw error;
      this.#say("This deployment keeps no trends yet.");
      return;
    }
    const hours = body.hours ?? [];
    if (!hours.length) {
      this.#say("No trends yet: they grow with each hour of telemetry.");
      return;
    }
    this.#table(hours, body.streets ?? []);
  }

  #say(text) {
    this.#node.replaceChildren(el("p", { className: "card" }, text));
  }

  #table(hours, streets) {
    const share = new Map(hours.map((h) => [h.hour_of_week, h.occupancy]));
    const choice = el("select", {
      id: "trend-street",
      onchange: (event) => {
        this.#street = event.target.value || null;
        this.refresh();
      },
    }, el("option", { value: "" }, "all streets"),
    ...streets.map((name) => el("option", { value: name, selected: name === this.#street }, name)));
    const cell = (value) => {
      const td = el("td", {}, value == null ? "" : String(Math.round(100 * value)));
      if (value != null) td.style.backgroundColor = `rgb(var(--heat) / ${(0.55 * value).toFixed(2)})`;
      return td;
    };
    this.#node.replaceChildren(el("div", { className: "card" },
      el("label", {}, "Street ", choice),
      el("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Occupancy table" },
        el("table", { className: "heat" },
          el("caption", { className: "note" }, "Occupied stalls in percent; hours are local to the fleet"),
          el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Hour"),
            ...Array.from({ length: 24 }, (_, h) => el("th", { scope: "col" }, String(h))))),
          el("tbody", {}, ...DAYS.map((day, d) => el("tr", {}, el("th", { scope: "row" }, day),
            ...Array.from({ length: 24 }, (_, h) => cell(share.get(24 * d + h)))))))),
      el("p", { className: "note" }, `Mean: ${percent(mean(hours.map((h) => h.occupancy)))}`)));
  }
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
