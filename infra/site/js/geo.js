// Degrees and local metres: equirectangular around a centre, exact enough for a city.

const RADIUS_M = 6371008.8; // mean radius R1 (IUGG)
const RAD = Math.PI / 180;

export class Projection {
  constructor(lat0, lon0) {
    this.lat0 = lat0;
    this.lon0 = lon0;
    this.east = RADIUS_M * Math.cos(lat0 * RAD) * RAD;
    this.north = RADIUS_M * RAD;
  }
  // East, north in metres.
  x(lon) { return (lon - this.lon0) * this.east; }
  y(lat) { return (lat - this.lat0) * this.north; }
  lon(x) { return this.lon0 + x / this.east; }
  lat(y) { return this.lat0 + y / this.north; }
}

export class Bounds {
  constructor() {
    this.west = this.south = Infinity;
    this.east = this.north = -Infinity;
  }
  add(x, y) {
    if (x < this.west) this.west = x;
    if (x > this.east) this.east = x;
    if (y < this.south) this.south = y;
    if (y > this.north) this.north = y;
  }
  // From a point to the nearest edge, m; 0 inside.
  distance(x, y) {
    const dx = Math.max(this.west - x, 0, x - this.east);
    return Math.hypot(dx, Math.max(this.south - y, 0, y - this.north));
  }
  get empty() { return this.west > this.east; }
}

export function distanceM(a, b) {
  const x = (b.lon - a.lon) * Math.cos(((a.lat + b.lat) / 2) * RAD);
  return Math.hypot(x, b.lat - a.lat) * RADIUS_M * RAD;
}
