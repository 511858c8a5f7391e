// Starts the page: configuration, what is asked how often, which page is shown.

import { Api } from "./api.js";
import { Banner } from "./banner.js";
import { CampaignsPage } from "./campaigns.js";
import { FleetPage } from "./fleet.js";
import { MapPage } from "./map.js";
import { Poll } from "./poll.js";
import { Store } from "./store.js";
import { theme } from "./theme.js";
import { TrendsPage } from "./trends.js";

const PAGES = ["map", "fleet", "trends", "campaigns"];
const CITY_MS = 5000, TRENDS_MS = 60000, MISSING_MS = 60000;
const PAGE_LIMIT = 1000; // the API's most
const $ = (id) => document.getElementById(id);

const config = await (await fetch("config.json", { cache: "no-cache" })).json();
const pollMs = 1000 * config.poll_s;
const api = new Api(config.api), store = new Store();
const files = new Api("."); // beside this page, and not the API's availability

const map = new MapPage(store, api, () => spots.now());
const fleet = new FleetPage(store, api);
const trends = new TrendsPage(api), campaigns = new CampaignsPage(config);
new Banner(api, store, 1000 * config.stale_s);
theme($("theme"), () => map.recolour());

const city = new Poll(async () => {
  const { body, same } = await files.get("/data/city.json");
  if (same || !store.setCity(body)) return;
  api.forget();
  spots.now();
}, CITY_MS);

const spots = new Poll(async () => {
  const box = map.box();
  if (box) {
    const path = `/spots?bbox=${box}&limit=${PAGE_LIMIT}`;
    await api.pages(path, "spots", (page, same) => same || store.update(page));
  }
}, pollMs);

let missingUntil = 0;
const vehicles = new Poll(async () => {
  if (performance.now() < missingUntil) return;
  const all = [];
  let changed = false;
  try {
    await api.pages(`/vehicles?limit=${PAGE_LIMIT}`, "vehicles", (page, same) => {
      all.push(...page);
      changed ||= !same;
    });
  } catch (error) {
    if (!error.missing) throw error;
    missingUntil = performance.now() + MISSING_MS;
    fleet.missing();
    return;
  }
  if (changed || all.length !== store.vehicles.size) store.setVehicles(all);
}, pollMs);

const summary = new Poll(async () => store.setSummary((await api.get("/fleet/summary")).body), pollMs);
const polls = {
  map: [city, spots, vehicles],
  fleet: [vehicles],
  trends: [new Poll(() => trends.refresh(), TRENDS_MS)],
  campaigns: [new Poll(() => campaigns.refresh(), 2 * pollMs)],
};

function show() {
  const name = PAGES.includes(location.hash.slice(1)) ? location.hash.slice(1) : "map";
  for (const page of PAGES) $(`page-${page}`).hidden = page !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `fleet-sim: ${$(`page-${name}`).querySelector("h2").textContent.toLowerCase()}`;
  const wanted = new Set([summary, ...polls[name]]);
  for (const poll of new Set(Object.values(polls).flat())) if (!wanted.has(poll)) poll.stop();
  for (const poll of wanted) poll.start();
  if (name === "fleet") fleet.shown();
}

$("skip").onclick = (event) => {
  event.preventDefault(); // the hash names the page
  $("content").focus();
};
addEventListener("hashchange", show);
show();

// For whoever looks from the console, and for the tests.
window.fleetSim = { api, config, map, store };
