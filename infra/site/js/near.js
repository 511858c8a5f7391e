// Free stalls near a place, in the order in which one would walk to them.

import { el, metres, say } from "./format.js";
import { Bounds, distanceM } from "./geo.js";
import { FREE, STATES } from "./store.js";

const RADIUS_M = 500;
const MOST = 12;
const AGAIN_MS = 4000;
const CLOSEST = 4; // px a metre
const $ = (id) => document.getElementById(id);

export class Near {
  #map; #api; #pointing = false; #place = null; #timer = 0; #walks = true; #straight = true;

  constructor(map, api) {
    this.#map = map;
    this.#api = api;
    this.note = $("near-note");
    $("near").onsubmit = (event) => {
      event.preventDefault();
      this.#street($("place").value.trim());
    };
    $("here").onclick = () => this.#here();
    $("middle").onclick = () => {
      const { camera } = map;
      if (map.store.projection) this.#search(this.#degrees(camera.x, camera.y), "the middle of the map");
    };
    $("point").onclick = () => this.#point(!this.#pointing);
  }

  streets() {
    const names = [...new Set(this.#map.store.spots.map((spot) => spot.street))].sort();
    $("streets").replaceChildren(...names.map((name) => el("option", { value: name })));
    this.clear();
  }

  clear() {
    clearTimeout(this.#timer);
    this.#place = null;
    Object.assign(this.#map.scene, { found: [], place: null });
    say(this.note, "");
    this.#map.list.showFound(null);
    this.#map.redraw();
  }

  // A click on the map while a place is asked for.
  takes(x, y) {
    if (!this.#pointing) return false;
    this.#point(false);
    this.#search(this.#degrees(x, y), "the place you clicked");
    return true;
  }

  #degrees(x, y) {
    const { projection } = this.#map.store;
    return { lat: projection.lat(y), lon: projection.lon(x) };
  }

  #point(on) {
    this.#pointing = on;
    $("point").setAttribute("aria-pressed", String(on));
    this.#map.canvas.classList.toggle("pointing", on);
    if (on) say(this.note, "Click on the map, or move it and press Enter.");
  }

  #street(name) {
    const wanted = name.toLowerCase();
    const { spots } = this.#map.store;
    const street = wanted && (spots.find((s) => s.street.toLowerCase() === wanted)
      ?? spots.find((s) => s.street.toLowerCase().includes(wanted)))?.street;
    if (!street) {
      say(this.note, name ? `No street here is called “${name}”.` : "Say which street.");
      return;
    }
    const of = spots.filter((spot) => spot.street === street);
    const mean = (key) => of.reduce((sum, spot) => sum + spot[key], 0) / of.length;
    const middle = { lat: mean("lat"), lon: mean("lon") };
    // Not the mean itself: of a bent street it is beside it.
    of.sort((a, b) => distanceM(a, middle) - distanceM(b, middle));
    this.#search({ lat: of[0].lat, lon: of[0].lon }, street);
  }

  #here() {
    if (!navigator.geolocation) {
      say(this.note, "This browser does not tell positions.");
      return;
    }
    say(this.note, "Asking for your position …");
    navigator.geolocation.getCurrentPosition(
      ({ coords }) => this.#search({ lat: coords.latitude, lon: coords.longitude }, "you"),
      (error) => {
        say(this.note, `Your position is not known: ${error.message || "not allowed"}. `
          + "Give a street or click on the map instead.");
      },
      { timeout: 10000, enableHighAccuracy: true },
    );
  }

  #search(place, words) {
    const { store } = this.#map, { projection } = store;
    if (!projection) {
      say(this.note, "No city is deployed.");
      return;
    }
    const x = projection.x(place.lon), y = projection.y(place.lat);
    const away = store.bounds.distance(x, y);
    if (away > RADIUS_M) {
      say(this.note, `The city that is shown is ${metres(away)} away from ${words}.`);
      return;
    }
    this.#place = { ...place, words, x, y };
    this.#map.scene.place = this.#place;
    say(this.note, "Searching …");
    this.#ask(true);
  }

  async #ask(first = false) {
    clearTimeout(this.#timer);
    const place = this.#place;
    if (!place) return;
    let found = null;
    try {
      found = this.#walks ? await this.#byWalk(place) : await this.#byAir(place);
    } catch (error) {
      if (first) say(this.note, `The search failed: ${error.message}.`);
    }
    if (this.#place !== place) return;
    if (found) this.#show(found, place);
    if (found && first) this.#frame(found, place);
    this.#timer = setTimeout(() => this.#ask(), AGAIN_MS);
  }

  // The place and what was found, in one view.
  #frame(found, place) {
    const bounds = new Bounds();
    for (const { x, y } of [place, ...found.map(({ spot }) => spot)]) bounds.add(x, y);
    this.#map.camera.fit(bounds, CLOSEST);
    this.#map.moved();
  }

  #show(found, place) {
    const how = this.#straight ? "as the crow flies" : "on foot along the streets";
    say(this.note, found.length
      ? `${found.length} free within ${metres(RADIUS_M)} of ${place.words}, ${how}; `
        + `the nearest is ${metres(found[0].walkM)} away.`
      : `No stall is known to be free within ${metres(RADIUS_M)} of ${place.words}.`);
    this.#map.scene.found = found.map(({ spot }) => spot);
    this.#map.list.showFound(found);
    this.#map.redraw();
  }

  async #byWalk(place) {
    const confidence = this.#map.filter.confidence;
    const query = `lat=${place.lat.toFixed(6)}&lon=${place.lon.toFixed(6)}&radius=${RADIUS_M}`
      + `&state=free&limit=${MOST}${confidence ? `&min_confidence=${confidence}` : ""}`;
    let body;
    try {
      ({ body } = await this.#api.get(`/spots?${query}`));
    } catch (error) {
      if (error.status !== 400 && !error.missing) throw error;
      this.#walks = false; // an API that has boxes only
      this.#straight = true;
      return this.#byAir(place);
    }
    const { store } = this.#map;
    store.update(body.spots);
    this.#straight = body.walk !== "streets";
    return body.spots.map((told) => ({ spot: store.byId.get(told.id), walkM: told.walk_m }));
  }

  async #byAir(place) {
    const { store, filter } = this.#map, p = store.projection;
    const box = [place.x - RADIUS_M, place.y - RADIUS_M, place.x + RADIUS_M, place.y + RADIUS_M];
    const degrees = [p.lon(box[0]), p.lat(box[1]), p.lon(box[2]), p.lat(box[3])];
    const near = new Set();
    await this.#api.pages(`/spots?bbox=${degrees.map((v) => v.toFixed(5)).join(",")}&limit=1000`, "spots",
      (spots) => {
        store.update(spots);
        for (const told of spots) if (told.state === STATES[FREE]) near.add(told.id);
      });
    return [...near].map((id) => store.byId.get(id))
      .filter((spot) => spot.confidence >= filter.confidence)
      .map((spot) => ({ spot, walkM: distanceM(spot, place) }))
      .filter(({ walkM }) => walkM <= RADIUS_M)
      .sort((a, b) => a.walkM - b.walkM)
      .slice(0, MOST);
  }
}
