// How full a street usually is, by hour of the week.

import { count, el, percent, stamp } from "./format.js";

const DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const HOURS = Array.from({ length: 24 }, (_, hour) => hour);
const DARKEST = 0.55; // text on it must stay readable

export class TrendsPage {
  #api; #node; #street = null; #drawn = null;

  constructor(api) {
    this.#api = api;
    this.#node = document.getElementById("trends");
  }

  async refresh() {
    try {
      const { body: index } = await this.#api.get("/trends");
      if (!index.streets.includes(this.#street)) this.#street = null; // of another city
      let trend = index;
      if (this.#street) {
        const path = `/trends/street?name=${encodeURIComponent(this.#street)}`;
        trend = (await this.#api.get(path)).body;
      }
      if (trend === this.#drawn) return; // a choice that is open must not be taken away
      this.#drawn = trend;
      this.#draw(index, trend);
    } catch (error) {
      if (!error.missing) throw error;
      this.#drawn = null;
      this.#node.replaceChildren(el("p", { className: "card" },
        "No trends yet. They are counted from the archive as it grows."));
    }
  }

  #draw(index, trend) {
    const focused = document.activeElement?.id === "trend-street";
    const choice = el("select", {
      id: "trend-street",
      onchange: (event) => {
        this.#street = event.target.value || null;
        this.refresh().catch(() => {}); // the banner says so
      },
    }, el("option", { value: "" }, "all streets"), ...index.streets.map((name) =>
      el("option", { value: name, selected: name === this.#street }, name)));
    const looks = trend.hours.reduce((sum, hour) => sum + hour.looks, 0);
    const taken = trend.hours.reduce((sum, hour) => sum + hour.looks * (hour.taken ?? 0), 0);
    this.#node.replaceChildren(el("div", { className: "card" },
      el("div", { className: "row spread" }, el("label", {}, "Street ", choice),
        el("b", {}, looks ? `${percent(taken / looks)} taken on average` : "never seen")),
      el("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Table of hours" },
        table(trend)),
      el("p", { className: "note" }, `${count(looks)} looks of vehicles`
        + (index.first_ms ? `, since ${stamp(index.first_ms)}.` : "."))));
    if (focused) choice.focus();
  }
}

function table(trend) {
  const cell = ({ looks, taken }) => {
    const node = el("td", {}, taken == null ? "" : String(Math.round(100 * taken)));
    if (taken == null) return node;
    node.style.backgroundColor = `rgb(var(--heat) / ${(DARKEST * taken).toFixed(2)})`;
    node.title = `${count(looks)} looks`;
    return node;
  };
  return el("table", { className: "heat" },
    el("caption", { className: "note" }, `Stalls taken in percent, by hour of the week (${trend.timezone})`),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Hour"),
      ...HOURS.map((hour) => el("th", { scope: "col" }, String(hour))))),
    el("tbody", {}, ...DAYS.map((name, day) => el("tr", {}, el("th", { scope: "row" }, name),
      ...HOURS.map((hour) => cell(trend.hours[24 * day + hour]))))));
}
