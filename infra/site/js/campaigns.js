// Update campaigns: which there are, how far each wave is, and an operator's buttons.

import { Api } from "./api.js";
import { count, el, percent, stamp } from "./format.js";
import { signed } from "./sigv4.js";

const SHOWN = 20;
const ACTIONS = {
  pause: ["running", "soaking"], resume: ["paused"], abort: ["running", "soaking", "paused"],
};
const MEANS = {
  pause: "No further vehicle is started until somebody resumes it.",
  resume: "It goes on with the wave it is in.",
  abort: "No further vehicle is started, ever.",
};
const $ = (id) => document.getElementById(id);

export class CampaignsPage {
  #api = null; #credentials = null; #drawn = "";

  constructor(config) {
    this.node = $("campaigns");
    this.note = $("campaigns-note");
    if (!config.campaigns) {
      this.note.textContent = "No campaigns: this deployment has no campaign service.";
      return;
    }
    this.#api = new Api(config.campaigns, (method, url) =>
      signed(this.#credentials, config.region, method, url));
    $("sign-in").hidden = false;
    $("sign-in").onsubmit = (event) => {
      event.preventDefault();
      this.#credentials = {
        key: $("key").value.trim(), secret: $("secret").value.trim(), token: $("token").value.trim(),
      };
      event.target.reset();
      this.note.textContent = "Signing in …";
      this.refresh().catch(() => {}); // it is said on the page
    };
  }

  async refresh() {
    if (!this.#credentials) return;
    let views;
    try {
      const { body } = await this.#api.get("/campaigns");
      const newest = body.campaigns.sort((a, b) => b.created_ms - a.created_ms).slice(0, SHOWN);
      views = await Promise.all(newest.map(async ({ id }) =>
        (await this.#api.get(`/campaigns/${encodeURIComponent(id)}`)).body));
    } catch (error) {
      this.#drawn = ""; // what is said now is to go, even if the same campaigns come again
      if (error.status === 401 || error.status === 403) {
        this.#credentials = null;
        this.node.replaceChildren();
        this.note.textContent = `These credentials may not see campaigns: ${error.message}.`;
      } else this.note.textContent = `The campaign service does not answer: ${error.message}.`;
      $("sign-in").hidden = this.#credentials !== null;
      throw error;
    }
    $("sign-in").hidden = true;
    const text = JSON.stringify(views);
    if (text === this.#drawn) return; // a button must not go away under the finger
    this.#drawn = text;
    this.note.textContent = views.length === 1 ? "1 campaign."
      : views.length ? `${views.length} campaigns, newest first.` : "No campaigns.";
    this.node.replaceChildren(...views.map((view) => this.#card(view)));
  }

  async #act(view, action) {
    if (!await agreed(`${action} campaign ${view.id}? ${MEANS[action]}`)) return;
    try {
      await this.#api.post(`/campaigns/${encodeURIComponent(view.id)}/${action}`);
      this.note.textContent = `${view.id}: ${action} was accepted.`;
    } catch (error) {
      this.note.textContent = `${view.id}: ${action} was refused: ${error.message}.`;
      return;
    }
    await this.refresh().catch(() => {});
  }

  #card(view) {
    const buttons = Object.keys(ACTIONS).filter((name) => ACTIONS[name].includes(view.state))
      .map((name) => el("button", { type: "button", onclick: () => this.#act(view, name) }, name));
    return el("section", { className: "card", ariaLabel: `Campaign ${view.id}` },
      el("div", { className: "row spread" }, el("h3", {}, view.id), el("b", { "data-state": view.state }, view.state)),
      el("p", { className: "note" }, `${view.version} for ${count(view.eligible)} vehicles, begun by `
        + `${view.created_by} at ${stamp(view.created_ms)}`),
      view.reason ? el("p", {}, view.reason) : null,
      el("p", {}, `${count(view.in_progress)} in progress; ${percent(view.success_rate)} of those `
        + `that completed succeeded; ${count(view.retries)} retries`),
      el("ol", { className: "waves", ariaLabel: `Waves of ${view.id}` }, ...view.waves.map(wave)),
      reasons("Failed because of", view.reasons), reasons("Waiting for", view.deferred),
      buttons.length ? el("div", { className: "row" }, ...buttons) : null);
  }
}

function wave(wave) {
  const of = (status) => wave.statuses[status] ?? 0;
  const failed = of("failed") + of("rejected") + wave.faulty, good = of("succeeded") - wave.faulty;
  const away = of("unreached") + of("canceled");
  const open = of("queued") + of("in_progress"), again = of("retrying"), done = good + failed + away;
  const said = done + open + again ? [
    `${count(done)} of ${count(wave.size)} done`, good ? `${count(good)} succeeded` : "",
    failed ? `${count(failed)} failed` : "", away ? `${count(away)} without an answer` : "",
    open ? `${count(open)} in progress` : "", again ? `${count(again)} to try again` : "",
  ].filter(Boolean).join(", ") : `${count(wave.size)} vehicles, not begun`;
  const part = (name, n) => el("i", { className: name, style: `width: ${100 * n / (wave.size || 1)}%` });
  return el("li", {},
    el("div", { className: "row spread" }, el("span", {}, `Wave ${wave.wave + 1}`),
      el("span", { className: "note" }, said)),
    el("div", { className: "bar", ariaHidden: "true" },
      part("good", good), part("bad", failed), part("away", away), part("open", open + again)));
}

// Words and how many vehicles each is of; nothing when there are none.
function reasons(title, counts) {
  const found = Object.entries(counts ?? {}).sort((a, b) => b[1] - a[1]);
  if (!found.length) return null;
  return el("p", { className: "reasons" }, `${title} `,
    ...found.map(([name, n]) => el("span", { className: "chip" }, `${name}: ${count(n)}`)));
}

// Asks, and waits for the answer. Not for the dialog's event `close`: that of a question before may
// come when the next one is asked already, and would answer it.
function agreed(question) {
  const dialog = $("confirm");
  $("confirm-text").textContent = question;
  if (!dialog.open) dialog.showModal();
  return new Promise((done) => {
    const answer = (yes) => () => {
      dialog.close();
      done(yes);
    };
    $("confirm-yes").onclick = answer(true);
    $("confirm-no").onclick = answer(false);
    dialog.oncancel = () => done(false); // Escape
  });
}
