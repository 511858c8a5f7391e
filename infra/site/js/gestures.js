// Mouse, fingers and keys → camera.

const CLICK_PX = 6;
const STEP_PX = 80;
const KEYS = {
  ArrowLeft: [STEP_PX, 0], ArrowRight: [-STEP_PX, 0], ArrowUp: [0, STEP_PX], ArrowDown: [0, -STEP_PX],
};

// `moved()` after each change of the camera; `clicked(x, y)` in pixels; `fit()` shows all.
export function gestures(canvas, camera, { moved, clicked, fit }) {
  const down = new Map(); // pointer → where it is
  let travelled = 0;

  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    if (!down.size) travelled = 0;
    down.set(event.pointerId, at(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = down.get(event.pointerId);
    if (!before) return;
    const now = at(event);
    travelled += Math.hypot(now.x - before.x, now.y - before.y);
    if (down.size === 1) camera.pan(now.x - before.x, now.y - before.y);
    else pinch(event.pointerId, before, now);
    down.set(event.pointerId, now);
    moved();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!down.delete(event.pointerId)) return;
    const { x, y } = at(event);
    if (!down.size && travelled < CLICK_PX) clicked(x, y);
  });
  canvas.addEventListener("pointercancel", (event) => down.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { x, y } = at(event);
    const lines = event.deltaMode === 1 ? 30 : 1;
    camera.zoom(Math.exp(-event.deltaY * lines * 0.0016), x, y);
    moved();
  }, { passive: false });
  canvas.addEventListener("dblclick", (event) => {
    const { x, y } = at(event);
    camera.zoom(2, x, y);
    moved();
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (KEYS[event.key]) camera.pan(...KEYS[event.key]);
    else if (event.key === "+" || event.key === "=") camera.zoom(1.4);
    else if (event.key === "-") camera.zoom(1 / 1.4);
    else if (event.key === "0") fit();
    else if (event.key === "Enter" || event.key === " ") {
      clicked(camera.width / 2, camera.height / 2, true);
    } else return;
    event.preventDefault();
    moved();
  });

  function pinch(id, before, now) {
    const [, other] = [...down].find(([key]) => key !== id);
    const was = Math.hypot(before.x - other.x, before.y - other.y);
    const is = Math.hypot(now.x - other.x, now.y - other.y);
    if (was > 0 && is > 0) camera.zoom(is / was, (now.x + other.x) / 2, (now.y + other.y) / 2);
    camera.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
  }

  function at(event) {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }
}
