// One picture on the page: from its choice to its download.

import { LOST, Problem, ask, follow, send } from "./api.js";
import { compare } from "./compare.js";
import { forget, kept } from "./store.js";
import { tryout } from "./tryout.js";

const template = (id) => document.getElementById(id);
const BUSY = ["queue-full", "loading", "draining", "disk-full", "lost"];
const WORKING = ["sending", "waiting", "running"];

const number = new Intl.NumberFormat("en");
const seconds = (left) => (left < 90 ? `about ${Math.max(1, Math.round(left))} s` : `about ${Math.round(left / 60)} min`);
const megabytes = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

export class Picture {
  /** `facts`: key, name, bytes, state and, later, id, fields, document: what is kept over a reload. */
  constructor(facts, { fields, changed, says }) {
    this.facts = facts;
    this.fields = fields;
    this.changed = changed;
    this.says = says;
    this.stopping = new AbortController();
    this.root = template("card").content.cloneNode(true).firstElementChild;
    this.part = (name) => this.root.querySelector(`.${name}`);
    this.part("name").textContent = facts.name;
    this.part("enlarge").addEventListener("click", () => this.enlarge());
    this.part("cancel").addEventListener("click", () => this.cancel());
    this.part("remove").addEventListener("click", () => this.remove());
    this.show();
  }

  get isWorking() {
    return WORKING.includes(this.facts.state);
  }

  /** Go on where a reload, or a new choice of files, left it. */
  async begin() {
    const { state, id } = this.facts;
    if (state === "sending") return this.enlarge();
    if (state === "done") return this.showResult();
    if (id && this.isWorking) return this.watch();
    return this.tryFirst();
  }

  set(changes, words = null) {
    Object.assign(this.facts, changes);
    this.words = words;
    this.show();
    this.changed();
  }

  show() {
    const { state, bytes, size, document: job } = this.facts;
    this.root.className = `card ${state}`;
    const facts = [size && `${number.format(size.width)} × ${number.format(size.height)} pixels`, megabytes(bytes)];
    if (state === "done" && job?.output) {
      facts[0] = `${number.format(job.input.width)} × ${number.format(job.input.height)} → ${number.format(job.output.width)} × ${number.format(job.output.height)} pixels`;
      facts[1] = megabytes(job.output.bytes);
      facts.push(...(job.output.notices ?? []));
    }
    this.part("facts").textContent = facts.filter(Boolean).join(" · ");
    const words = this.words ?? this.sentence();
    this.part("state").textContent = words;
    this.part("state").hidden = !words;
    const progress = this.part("progress");
    progress.hidden = !this.isWorking;
    progress.setAttribute("aria-label", `Progress of ${this.facts.name}`);
    if (state === "running") progress.value = job?.progress ?? 0;
    else if (state === "sending" && this.sent < 1) progress.value = 100 * this.sent;
    else progress.removeAttribute("value");
    if (state === "waiting") progress.value = 0;
    this.part("enlarge").hidden = this.isWorking || state === "done";
    this.part("enlarge").textContent = state === "failed" ? "Try again" : "Enlarge";
    this.part("cancel").hidden = !this.isWorking;
    this.part("remove").hidden = this.isWorking;
    this.part("download").hidden = state !== "done";
    // Which picture a button is of, for those who do not see it.
    for (const name of ["enlarge", "cancel", "remove", "download"]) {
      this.part(name).setAttribute("aria-label", `${this.part(name).textContent} ${this.facts.name}`);
    }
  }

  sentence() {
    const { state, document: job } = this.facts;
    if (state === "sending") return this.sent < 1 ? `Sending, ${Math.round(100 * this.sent)} %` : "Sending";
    if (state === "waiting") return `Number ${job?.place ?? 1} in the queue, done in ${seconds(job?.seconds_left ?? 0)}`;
    if (state === "running") return `Enlarging, ${job?.progress ?? 0} %, ${seconds(job?.seconds_left ?? 0)} left`;
    return "";
  }

  /** Show a piece of it enlarged. */
  async tryFirst() {
    const blob = await kept(this.facts.key);
    if (!blob) return this.set({ state: "failed" }, "The picture is no longer here; please choose it again.");
    const view = await tryout(template("try"), blob, this.fields);
    if (this.facts.state !== "chosen" && this.facts.state !== "failed") return view?.stop();
    this.trial?.stop();
    this.trial = view;
    if (view) {
      this.set({ size: view.size }, this.words);
      this.part("body").replaceChildren(view.root);
    } else if (this.facts.state === "chosen") this.set({}, "This browser cannot show this format; the server may read it all the same.");
  }

  /** The settings have changed. */
  refresh() {
    if (this.facts.state === "chosen") this.trial?.refresh();
  }

  async enlarge() {
    this.trial?.stop();
    this.trial = null;
    this.part("body").replaceChildren();
    const again = this.facts.state === "sending" && this.facts.fields;
    const fields = again || this.fields();
    // The same key and fields after a reload: the server makes no second job of them.
    const ticket = again ? this.facts.ticket : crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
    this.stopping = new AbortController();
    this.sent = 0;
    this.set({ state: "sending", fields, ticket, id: null, document: null });
    const blob = await kept(this.facts.key);
    if (!blob) return this.set({ state: "failed" }, "The picture is no longer here; please choose it again.");
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) if (value !== "") form.append(name, value);
    form.append("image", blob, this.facts.name);
    await this.patiently(async () => {
      const onSent = (part) => {
        this.sent = part;
        this.show();
      };
      const job = await send("v1/jobs", form, { key: ticket, onSent, signal: this.stopping.signal });
      this.set({ id: job.id, state: job.state, document: job });
    });
    if (this.facts.id) await this.watch();
  }

  /** Do something again while the server is busy or away. */
  async patiently(work) {
    const { signal } = this.stopping;
    for (let tries = 0; ; tries += 1) {
      try {
        return await work();
      } catch (error) {
        if (error.name === "AbortError") return undefined;
        if (!(error instanceof Problem) || !BUSY.includes(error.kind)) return this.fail(error);
        const pause = Math.min(60, error.retryAfter || 2 ** Math.min(tries, 4));
        const words = error.kind === "lost" ? LOST : error.kind === "queue-full" ? "The server is busy." : error.message;
        this.set({}, `${words} Trying again in ${pause} s.`);
        await new Promise((resolve) => setTimeout(resolve, 1000 * pause));
        if (signal.aborted) return undefined;
      }
    }
  }

  fail(error) {
    const words = error instanceof Problem ? error.message : "Something went wrong on this page.";
    this.set({ state: "failed" }, words);
    this.says(`${this.facts.name}: ${words}`);
    return this.tryFirst();
  }

  async watch() {
    const { signal } = (this.stopping = new AbortController());
    const onEvent = (name, job) => {
      if (name === "progress") this.set({ state: job.state, document: job });
      else if (name === "restarting") this.set({ document: job }, "The server is starting anew; the job goes on after that.");
      else this.over = { name, job };
    };
    this.over = null;
    try {
      await follow(this.facts.id, { onEvent, onLost: () => this.set({}, `${LOST} Looking for it again; the job goes on.`), signal });
    } catch (error) {
      if (error.name === "AbortError") return undefined;
      return this.fail(new Problem("not-found", "The server no longer has this job; enlarge the picture again."));
    }
    const { name, job } = this.over;
    if (name === "done") {
      this.set({ state: "done", document: job });
      this.says(`${this.facts.name} is enlarged`);
      return this.showResult();
    }
    if (name === "failed") return this.fail(new Problem("failed", job.error.detail));
    this.set({ state: "chosen", id: null });
    return this.tryFirst();
  }

  /** The enlarged picture, once it was fetched. */
  async result() {
    this.fetched ??= ask(`v1/jobs/${this.facts.id}/result`).then((answer) => answer.blob());
    return this.fetched.catch((error) => {
      this.fetched = null;
      throw error;
    });
  }

  get resultName() {
    const suffix = { "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/tiff": "tiff" }[this.facts.document.output.type];
    return `${this.facts.name.replace(/\.[^.]*$/, "") || "picture"}_enlarged.${suffix ?? "dcm"}`;
  }

  async showResult() {
    const blob = await this.patiently(() => this.result());
    if (!blob) return;
    const link = this.part("download");
    link.href = URL.createObjectURL(blob);
    link.download = this.resultName;
    const before = await kept(this.facts.key);
    const view = compare(template("compare"), before ? URL.createObjectURL(before) : null, link.href);
    view.querySelector(".after").addEventListener("error", () => {
      view.remove();
      this.set({}, "It is enlarged. This browser cannot show the format; download it to see it.");
    });
    this.part("body").replaceChildren(view);
  }

  async cancel() {
    const { id } = this.facts;
    this.stopping.abort();
    this.set({ state: "chosen", id: null });
    if (id) await ask(`v1/jobs/${id}`, { method: "DELETE" }).catch(() => {});
    await this.tryFirst();
  }

  /** Take it off the page and the server. */
  async remove() {
    const { id, key } = this.facts;
    this.stopping.abort();
    this.trial?.stop();
    this.facts.state = "removed";
    this.root.remove();
    this.changed();
    await forget(key);
    if (id) await ask(`v1/jobs/${id}`, { method: "DELETE" }).catch(() => {});
  }
}
