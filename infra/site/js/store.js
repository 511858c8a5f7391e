// What the page knows: the city, the belief of each stall, the vehicles.

import { Bounds, Projection } from "./geo.js";

export const UNKNOWN = 0, FREE = 1, OCCUPIED = 2;
export const STATES = ["unknown", "free", "occupied"];
const SIMULATED_MS = 600000; // a newest event this far from our clock has a clock of its own

export class Store extends EventTarget {
  constructor() {
    super();
    this.clear();
    this.vehicles = new Map();
    this.summary = null;
    this.eventMs = 0; // newest event time seen
  }

  clear() {
    this.city = null;
    this.attribution = "";
    this.streets = [];
    this.lines = [];
    this.bounds = new Bounds();
    this.projection = null;
    this.spots = []; // {id, lat, lon, x, y, cos, sin, length, street, state, confidence, …}
    this.byId = new Map();
  }

  // True when this is another city than before.
  setCity(document) {
    if (this.city === document.city) return false;
    this.clear();
    this.city = document.city;
    this.attribution = document.attribution;
    this.streets = document.streets;
    const { stalls, lines } = document;
    if (lines.length) this.#centre(lines[0][2], lines[0][3]);
    for (const [street, lanes, lat1, lon1, lat2, lon2] of lines) {
      const { projection: p } = this;
      const line = { street, lanes, x1: p.x(lon1), y1: p.y(lat1), x2: p.x(lon2), y2: p.y(lat2) };
      this.lines.push(line);
      this.bounds.add(line.x1, line.y1);
      this.bounds.add(line.x2, line.y2);
    }
    stalls.id.forEach((id, k) => {
      this.#add(id, stalls.lat[k], stalls.lon[k], this.streets[stalls.street[k]], stalls.length_m[k],
        stalls.bearing_deg[k]);
    });
    this.dispatchEvent(new Event("city"));
    return true;
  }

  #centre(lat, lon) {
    if (!this.projection) this.projection = new Projection(lat, lon);
  }

  #add(id, lat, lon, street, length, bearing) {
    this.#centre(lat, lon);
    const angle = (bearing ?? 90) * Math.PI / 180;
    const spot = {
      id, lat, lon, street, x: this.projection.x(lon), y: this.projection.y(lat),
      // Along the lane, east and north.
      ux: Math.sin(angle), uy: Math.cos(angle), length: length ?? 5,
      state: UNKNOWN, p: 0.5, confidence: 0, observations: 0, seen: null, index: this.spots.length,
    };
    this.spots.push(spot);
    this.byId.set(id, spot);
    this.bounds.add(spot.x, spot.y);
    return spot;
  }

  // A page of the API's spots; answers how many are not as they were.
  update(page) {
    let changed = 0;
    for (const told of page) {
      // A stall that the drawn city does not have: the map is of another deployment, or there is none.
      const spot = this.byId.get(told.id) ?? this.#add(told.id, told.lat, told.lon, told.street);
      const state = Math.max(0, STATES.indexOf(told.state));
      if (spot.state !== state || spot.p !== told.p_occupied || spot.seen !== told.last_seen_ms) {
        spot.state = state;
        spot.p = told.p_occupied;
        spot.confidence = told.confidence;
        spot.observations = told.observations;
        spot.seen = told.last_seen_ms;
        if (spot.seen > this.eventMs) this.eventMs = spot.seen;
        changed += 1;
      }
    }
    if (changed) this.dispatchEvent(new Event("spots"));
    return changed;
  }

  setVehicles(vehicles) {
    this.vehicles = new Map(vehicles.map((vehicle) => [vehicle.vin, vehicle]));
    for (const { ts } of vehicles) if (ts > this.eventMs) this.eventMs = ts;
    this.dispatchEvent(new Event("vehicles"));
  }

  setSummary(summary) {
    this.summary = summary;
    this.dispatchEvent(new Event("summary"));
  }

  // Event times have the vehicles' clock, and a simulated fleet's is not ours.
  get simulated() {
    return this.eventMs > 0 && Math.abs(Date.now() - this.eventMs) > SIMULATED_MS;
  }
  ageMs(eventMs) {
    return (this.simulated ? this.eventMs : Date.now()) - eventMs;
  }
}
