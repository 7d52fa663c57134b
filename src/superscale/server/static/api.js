// Requests to the server: with the token, and with errors as sentences.

const TOKEN = "superscale.token";
let asking = null;

/** An answer that is no success. `kind`: the last part of the problem's type, "lost" when there was no answer. */
export class Problem extends Error {
  constructor(kind, detail, retryAfter = 0) {
    super(detail);
    this.kind = kind;
    this.retryAfter = retryAfter;
  }
}

export const LOST = "The connection to the server is lost.";

function headers() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

function problemOf(status, text, retryAfter) {
  let said = {};
  try {
    said = JSON.parse(text);
  } catch {
    // A proxy between us and the server has its own words.
  }
  const kind = (said.type || "").split(":").pop();
  if (!kind && [502, 503, 504].includes(status)) return new Problem("lost", LOST);
  return new Problem(kind || "failed", said.detail || `The server answered ${status}.`, Number(retryAfter) || 0);
}

function askForToken() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("token");
    const value = document.getElementById("token-value");
    value.value = "";
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(TOKEN, value.value.trim());
      asking = null;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

/** The response to a request that succeeds. Throws Problem. */
export async function ask(path, options = {}) {
  for (;;) {
    let response;
    try {
      response = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem("lost", LOST);
    }
    if (response.ok) return response;
    if (response.status !== 401) throw problemOf(response.status, await response.text(), response.headers.get("Retry-After"));
    await askForToken();
  }
}

/** POST a form and tell how much of it is sent, from 0 to 1; the job. Throws Problem. */
export async function send(path, form, { key, onSent, signal }) {
  for (;;) {
    const answer = await new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", path);
      for (const [name, value] of Object.entries({ ...headers(), "Idempotency-Key": key })) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => event.lengthComputable && onSent(event.loaded / event.total);
      request.onload = () => resolve(request);
      request.onerror = () => reject(new Problem("lost", LOST));
      request.onabort = () => reject(new DOMException("aborted", "AbortError"));
      signal.addEventListener("abort", () => request.abort());
      request.send(form);
    });
    if (answer.status < 300) return JSON.parse(answer.responseText);
    if (answer.status !== 401) throw problemOf(answer.status, answer.responseText, answer.getResponseHeader("Retry-After"));
    await askForToken();
  }
}

/** Call `onEvent(name, document)` for the events of a job until it is over; goes on after every loss of the connection. */
export async function follow(id, { onEvent, onLost, signal }) {
  let last = 0;
  for (let losses = 0; ; losses += 1) {
    try {
      const response = await ask(`v1/jobs/${id}/events`, { headers: { "Last-Event-ID": String(last) }, signal });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ""; ; ) {
        const { done, value } = await reader.read();
        if (done) break;
        const blocks = (text + value).replaceAll("\r\n", "\n").split("\n\n");
        text = blocks.pop();
        for (const block of blocks) {
          const facts = Object.fromEntries(block.split("\n").map((line) => /^(\w*): ?(.*)$/.exec(line)?.slice(1) ?? ["", ""]));
          if (!facts.event) continue;
          losses = 0;
          last = Math.max(last, Number(facts.id));
          onEvent(facts.event, JSON.parse(facts.data));
          if (["done", "failed", "cancelled"].includes(facts.event)) return;
        }
      }
    } catch (error) {
      if (error.name === "AbortError" || (error instanceof Problem && error.kind === "not-found")) throw error;
    }
    onLost();
    await new Promise((resolve) => setTimeout(resolve, Math.min(10000, 500 * 2 ** losses)));
    signal.throwIfAborted();
  }
}
