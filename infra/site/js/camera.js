// What part of the plane is seen. Metres east and north ↔ pixels right and down.

const NEAREST = 30; // px a metre
const MARGIN_PX = 24;

export class Camera {
  constructor() {
    this.x = this.y = 0; // metres in the middle
    this.scale = 0.1; // px a metre
    this.width = this.height = 1; // px
    this.farthest = 0.01;
  }
  sx(x) { return (x - this.x) * this.scale + this.width / 2; }
  sy(y) { return (this.y - y) * this.scale + this.height / 2; }
  wx(sx) { return (sx - this.width / 2) / this.scale + this.x; }
  wy(sy) { return this.y - (sy - this.height / 2) / this.scale; }

  pan(dx, dy) {
    this.x -= dx / this.scale;
    this.y += dy / this.scale;
  }
  // The point under (sx, sy) stays there.
  zoom(factor, sx = this.width / 2, sy = this.height / 2) {
    const x = this.wx(sx), y = this.wy(sy);
    this.scale = Math.min(NEAREST, Math.max(this.farthest, this.scale * factor));
    this.x = x - (sx - this.width / 2) / this.scale;
    this.y = y + (sy - this.height / 2) / this.scale;
  }
  centre(x, y, scale = this.scale) {
    this.x = x;
    this.y = y;
    this.scale = scale;
  }
  // Nearer than `closest` px a metre is never needed to show it.
  fit(bounds, closest = NEAREST) {
    if (bounds.empty) return;
    this.scale = Math.min(
      closest,
      (this.width - 2 * MARGIN_PX) / Math.max(50, bounds.east - bounds.west),
      (this.height - 2 * MARGIN_PX) / Math.max(50, bounds.north - bounds.south),
    );
    this.x = (bounds.west + bounds.east) / 2;
    this.y = (bounds.south + bounds.north) / 2;
  }
  // Metres: west, south, east, north.
  view(margin = 0) {
    return {
      west: this.wx(-margin), east: this.wx(this.width + margin),
      south: this.wy(this.height + margin), north: this.wy(-margin),
    };
  }
}
