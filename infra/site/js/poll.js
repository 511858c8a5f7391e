// Repeats a question while somebody looks.

const LONGEST_MS = 30000;

export class Poll {
  #ask; #every; #timer = 0; #running = false; #failures = 0; #stopped = true;

  // `ask` is async; `everyMs` between one end and the next beginning. A slow answer slows it down,
  // failures more so; a hidden page asks nothing.
  constructor(ask, everyMs) {
    this.#ask = ask;
    this.#every = everyMs;
    document.addEventListener("visibilitychange", () => this.now());
    addEventListener("online", () => this.now());
  }

  start() {
    this.#stopped = false;
    this.now();
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  // At once, unless it is being asked already.
  now() {
    if (this.#running || this.#stopped || document.hidden) return;
    clearTimeout(this.#timer);
    this.#run();
  }

  async #run() {
    this.#running = true;
    const begun = performance.now();
    try {
      await this.#ask();
      this.#failures = 0;
    } catch (error) {
      this.#failures += 1;
      if (error.status === undefined) console.error(error); // ours, not the API's
    }
    this.#running = false;
    const took = performance.now() - begun;
    const wait = Math.max(this.#every, 2 * took) * 2 ** Math.min(this.#failures, 3);
    clearTimeout(this.#timer);
    if (!this.#stopped) this.#timer = setTimeout(() => this.now(), Math.min(wait, LONGEST_MS));
  }
}
