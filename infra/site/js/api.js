// Questions to the API, and what is known of its being there.

const TIMEOUT_MS = 10000;

export class ApiError extends Error {
  // status 0: no answer at all.
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
  // The API is there and does not know this question: an older or smaller deployment.
  get missing() { return this.status === 404 || this.status === 405 || this.status === 501; }
}

export class Api extends EventTarget {
  #base; #sign;
  #last = new Map(); // path → text and body of its newest answer

  // `sign(method, url, body)` answers headers to add, for an API that asks who is calling.
  constructor(base, sign = () => ({})) {
    super();
    this.#base = base;
    this.#sign = sign;
    this.answeredAt = 0; // performance.now() of the newest answer
    this.failure = null; // why the newest question had none
    this.times = []; // ms that the newest answers took
  }

  // Asks for JSON. `same`: word for word the answer before. The browser keeps answers and their
  // ETags, so an unchanged one crosses the network as 304. Throws ApiError.
  async get(path) {
    const begun = performance.now();
    const text = await this.#ask("GET", path);
    this.times.push(performance.now() - begun);
    if (this.times.length > 120) this.times.shift();
    const before = this.#last.get(path);
    if (before?.text === text) return { body: before.body, same: true };
    const body = JSON.parse(text);
    if (this.#last.size > 64) this.#last.clear(); // views that were left
    this.#last.set(path, { text, body });
    return { body, same: false };
  }

  // All pages of a list; `onPage(items, same)` for each as it comes.
  async pages(path, name, onPage) {
    let next = null;
    do {
      const more = next ? `&next=${encodeURIComponent(next)}` : "";
      const { body, same } = await this.get(path + more);
      onPage(body[name], same);
      next = body.next ?? null;
    } while (next);
  }

  // Asks for a change. Throws ApiError.
  post(path) { return this.#ask("POST", path); }

  async #ask(method, path) {
    const url = this.#base + path;
    let response, text;
    try {
      response = await fetch(url, {
        method,
        cache: "no-cache", // kept, but never shown without asking whether it still holds
        credentials: "omit",
        headers: { Accept: "application/json", ...await this.#sign(method, url) },
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      text = await response.text();
    } catch (error) {
      const detail = error.name === "TimeoutError" ? "no answer in 10 s" : "no connection";
      throw this.#failed(new ApiError(0, navigator.onLine ? detail : "this device is offline"));
    }
    if (!response.ok) {
      const error = new ApiError(response.status, detailOf(text) || `status ${response.status}`);
      if (response.status >= 500 || response.status === 429) throw this.#failed(error);
      this.#answered(); // it is there, and refuses
      throw error;
    }
    this.#answered();
    return text;
  }

  // What was told before counts as new: whoever was told has forgotten it.
  forget() { this.#last.clear(); }

  #answered() {
    this.answeredAt = performance.now();
    if (this.failure) {
      this.failure = null;
      this.dispatchEvent(new Event("recovered"));
    }
  }

  #failed(error) {
    this.failure = error.message;
    this.dispatchEvent(new Event("failed"));
    return error;
  }
}

function detailOf(text) {
  try {
    const problem = JSON.parse(text);
    return problem.detail || problem.title || problem.message;
  } catch {
    return "";
  }
}
