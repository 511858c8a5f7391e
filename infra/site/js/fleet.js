// The page of the fleet: who is online, how full, how fast the cloud is.

import { Chart } from "./chart.js";
import { age, count, el, milliseconds, percent, quantile } from "./format.js";

const ROWS = 100;
const RATE_MS = 10000; // a rate over less jumps with each batch
const TILES = [
  "Online", "Driving", "Parked", "Charging", "Mean battery", "Data points", "Stream to table, p95",
  "API answers, p95", "Stalls free", "Stalls occupied", "Stalls unknown",
];
const RECENT_MS = 60000; // as the API counts a vehicle online
const fine = (share) => (share == null ? "–" : `${(100 * share).toFixed(1)} %`);
const $ = (id) => document.getElementById(id);

export class FleetPage {
  #store; #api; #tiles = new Map(); #charts; #points = [];

  constructor(store, api) {
    this.#store = store;
    this.#api = api;
    for (const title of TILES) {
      const node = el("b", {}, "–"), name = el("span", { className: "note" }, title);
      this.#tiles.set(title, node);
      $("tiles").append(el("div", { className: "card tile" }, name, node));
    }
    const charts = $("charts");
    this.#charts = {
      online: new Chart(charts, "Vehicles online", count),
      points: new Chart(charts, "Data points a second", count),
      latency: new Chart(charts, "Stream to table, median", milliseconds),
      api: new Chart(charts, "API answers in, median", milliseconds),
      battery: new Chart(charts, "Mean battery", fine, false),
      occupied: new Chart(charts, "Stalls occupied, of those known", percent),
    };
    store.addEventListener("summary", () => this.#summary());
    store.addEventListener("vehicles", () => this.#vehicles());
    $("vehicle-find").addEventListener("input", () => this.#table());
  }

  #tile(title, value) {
    this.#tiles.get(title).textContent = value;
  }

  #summary() {
    const s = this.#store.summary, known = s.occupied + s.free;
    this.#tile("Online", `${count(s.online)} of ${count(s.vehicles)}`);
    this.#tile("Mean battery", fine(s.mean_soc));
    this.#tile("Driving", count(s.driving));
    this.#tile("Parked", count(s.parked));
    this.#tile("Charging", count(s.charging));
    this.#tile("Stalls free", count(s.free));
    this.#tile("Stalls occupied", count(s.occupied));
    this.#tile("Stalls unknown", count(s.unknown));
    this.#charts.online.add(s.online);
    this.#charts.battery.add(s.mean_soc);
    this.#charts.occupied.add(known ? s.occupied / known : null);
    const times = [...this.#api.times].sort((a, b) => a - b);
    this.#charts.api.add(quantile(times, 0.5));
    this.#tile("API answers, p95", milliseconds(quantile(times, 0.95)));
  }

  #vehicles() {
    const vehicles = [...this.#store.vehicles.values()], now = Date.now();
    const fresh = vehicles.filter((v) => v.stored_ms > now - RECENT_MS);
    const took = fresh.map((v) => v.stored_ms - v.arrival_ms).sort((a, b) => a - b);
    this.#tile("Stream to table, p95", milliseconds(quantile(took, 0.95)));
    this.#charts.latency.add(quantile(took, 0.5));
    const points = vehicles.reduce((sum, v) => sum + messages(v.applied), 0);
    this.#tile("Data points", count(points));
    // A vehicle's count begins anew with a run.
    if (points < this.#points.at(-1)?.points) this.#points = [];
    this.#points.push({ points, now });
    while (this.#points[1]?.now < now - RATE_MS) this.#points.shift();
    const [first] = this.#points;
    if (now > first.now) {
      this.#charts.points.add((points - first.points) / ((now - first.now) / 1000));
    }
    this.#table();
  }

  #table() {
    if ($("page-fleet").hidden) return;
    const wanted = $("vehicle-find").value.trim().toUpperCase(), now = Date.now();
    const all = [...this.#store.vehicles.values()].filter((v) => v.vin.includes(wanted));
    all.sort((a, b) => (a.vin < b.vin ? -1 : 1));
    $("vehicles-note").textContent = all.length > ROWS
      ? `${count(all.length)} vehicles; the first ${ROWS} are listed.`
      : all.length ? `${count(all.length)} vehicles.` : "No vehicle.";
    const head = ["VIN", "mode", "battery", "km/h", "firmware", "data points", "stream to table", "heard"];
    $("vehicles").replaceChildren(
      el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, ...all.slice(0, ROWS).map((v) => el("tr", {}, ...[
        v.vin, v.mode, percent(v.soc), count(v.speed_mps * 3.6), v.fw || "–", count(messages(v.applied)),
        milliseconds(v.stored_ms - v.arrival_ms), `${age(now - v.stored_ms)} ago`,
      ].map((text) => el("td", {}, text))))),
    );
  }

  missing() {
    $("vehicles-note").textContent = "This API does not list vehicles.";
  }
  shown() { this.#table(); }
}

// How many numbers `1-118,120-121` has.
function messages(ranges) {
  let sum = 0;
  for (const range of ranges ? ranges.split(",") : []) {
    const [low, high] = range.split("-").map(Number);
    sum += (high ?? low) - low + 1;
  }
  return sum;
}
