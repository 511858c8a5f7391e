// Numbers, ages and elements as people read them.

const whole = new Intl.NumberFormat("en");

export const count = (n) => (n == null ? "–" : whole.format(Math.round(n)));
export const percent = (share) => (share == null ? "–" : `${Math.round(share * 100)} %`);
export const milliseconds = (ms) =>
  ms == null ? "–" : ms < 9950 ? `${whole.format(Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`;
export const metres = (m) => (m < 995 ? `${Math.round(m)} m` : `${(m / 1000).toFixed(1)} km`);

export function age(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

export const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");
export const stamp = (ms) => new Date(ms).toISOString().replace("T", " ").slice(0, 19) + " UTC";

// An element with properties and children. Text never becomes markup.
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

export function facts(node, pairs) {
  node.replaceChildren(
    ...pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]),
  );
}

// Sets a text; the same again is no change, which a screen reader would read anew.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Share of a sorted list.
export const quantile = (sorted, share) =>
  sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] : null;
