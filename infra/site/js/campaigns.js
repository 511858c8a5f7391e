// Update campaigns: which there are, and how far each wave is.

import { count, el, percent, stamp } from "./format.js";

const FINAL = ["succeeded", "failed", "rejected", "unreached", "canceled"];

export class CampaignsPage {
  #api; #node;

  constructor(api) {
    this.#api = api;
    this.#node = document.getElementById("campaigns");
  }

  async refresh() {
    let list;
    try {
      list = (await this.#api.get("/campaigns")).body.campaigns;
    } catch (error) {
      if (error.status === 401 || error.status === 403) this.#say("Campaigns are for operators only.");
      else if (error.missing) this.#say("No campaigns: this deployment has no campaign service.");
      else throw error;
      return;
    }
    if (!list.length) {
      this.#say("No campaigns.");
      return;
    }
    const newest = [...list].sort((a, b) => b.created_ms - a.created_ms).slice(0, 20);
    const views = await Promise.all(newest.map(async ({ id }) =>
      (await this.#api.get(`/campaigns/${encodeURIComponent(id)}`)).body));
    this.#node.replaceChildren(...views.map(card));
  }

  #say(text) {
    this.#node.replaceChildren(el("p", { className: "card" }, text));
  }
}

function card(view) {
  const line = `${view.version} to ${count(view.eligible)} vehicles, begun by ${view.created_by} `
    + `at ${stamp(view.created_ms)}`;
  return el("section", { className: "card", ariaLabel: `Campaign ${view.id}` },
    el("div", { className: "row spread" }, el("h3", {}, view.id), el("b", {}, view.state)),
    el("p", { className: "note" }, line),
    view.reason ? el("p", {}, view.reason) : null,
    el("p", {}, `${count(view.in_progress)} in progress; ${percent(view.success_rate)} of those that `
      + `completed succeeded; ${count(view.retries)} retries`),
    el("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: `Waves of ${view.id}` },
      el("table", {},
        el("thead", {}, el("tr", {}, ...["wave", "vehicles", "done", "succeeded", "failed", "progress"]
          .map((name) => el("th", { scope: "col" }, name)))),
        el("tbody", {}, ...view.waves.map((wave) => {
          const of = (status) => wave.statuses[status] ?? 0;
          const done = FINAL.reduce((sum, status) => sum + of(status), 0);
          return el("tr", {}, ...[wave.wave + 1, wave.size, done, of("succeeded") - wave.faulty,
            of("failed") + of("rejected") + wave.faulty].map((n) => el("td", {}, String(n))),
          el("td", {}, el("progress", {
            max: wave.size || 1, value: done, ariaLabel: `Wave ${wave.wave + 1}`,
          })));
        })))));
}
