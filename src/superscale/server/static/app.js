// The page: choosing pictures, how to enlarge them, and all of them together.

import { ask } from "./api.js";
import { Picture } from "./pictures.js";
import { keep, load, save } from "./store.js";
import { zip } from "./zip.js";

const find = (id) => document.getElementById(id);
const SETTINGS = "superscale.settings";
const WORDS = {
  "auto": "As the picture needs it",
  "photo-x4": "Noisy or compressed photograph",
  "srgan-x4": "Clean photograph: sharp",
  "srresnet-x4": "Measurement: as faithful as can be",
  "compact-x4": "Clean photograph: fast",
  "esrgan-lite-x4": "Clean photograph: sharp, another method",
  "rrdb-lite-x4": "Clean photograph: soft, another method",
};
const pictures = [];
let models = [];
let limits = {};

/** The fields of a request, as the form has them. */
function fields() {
  const form = new FormData(find("settings"));
  const model = models.find((one) => one.name === form.get("model"));
  const given = { model: form.get("model") ?? "", scale: form.get("scale") ?? "", format: form.get("format"), metadata: form.get("strip") ? "strip" : "keep" };
  return model?.fidelity && form.get("detail") !== "100" ? { ...given, fidelity: String(1 - form.get("detail") / 100) } : given;
}

function settingsChanged() {
  const model = models.find((one) => one.name === find("model").value);
  find("fidelity-field").hidden = !model?.fidelity;
  save(Object.fromEntries(new FormData(find("settings"))), SETTINGS);
  for (const one of pictures) one.refresh();
}

function restoreSettings() {
  for (const [name, value] of Object.entries(load(SETTINGS) ?? {})) {
    for (const one of document.getElementsByName(name)) {
      if (one.type === "radio" || one.type === "checkbox") one.checked = one.value === value;
      else if (one.tagName !== "SELECT" || [...one.options].some((option) => option.value === value)) one.value = value;
    }
  }
}

function changed() {
  for (let at = pictures.length - 1; at >= 0; at -= 1) if (pictures[at].facts.state === "removed") pictures.splice(at, 1);
  save(pictures.map((one) => one.facts));
  const done = pictures.filter((one) => one.facts.state === "done").length;
  const chosen = pictures.filter((one) => !one.isWorking && one.facts.state !== "done").length;
  document.body.classList.toggle("has-pictures", pictures.length > 0);
  find("pictures").hidden = pictures.length === 0;
  find("count").textContent = pictures.length === 1 ? "1 picture" : `${pictures.length} pictures${done ? `, ${done} enlarged` : ""}`;
  find("enlarge-all").hidden = chosen < 2;
  find("zip").hidden = done < 2;
  find("clear").hidden = pictures.length < 2;
}

function says(text) {
  find("says").textContent = text;
}

function show(facts) {
  const picture = new Picture(facts, { fields, changed, says });
  pictures.push(picture);
  find("list").append(picture.root);
  picture.begin();
}

async function add(files) {
  for (const file of files) {
    const facts = { key: `${Date.now()}-${Math.random()}`, name: file.name || "pasted.png", bytes: file.size, state: "chosen" };
    if (limits.bytes && file.size > limits.bytes) {
      banner(`${facts.name} has ${(file.size / 1e6).toFixed(1)} MB; this server takes pictures of up to ${limits.bytes / 1e6} MB.`);
      continue;
    }
    await keep(facts.key, file);
    show(facts);
  }
  changed();
}

function banner(text) {
  find("banner").textContent = text;
  find("banner").hidden = !text;
}

async function start() {
  for (;;) {
    try {
      const known = await (await ask("v1/models")).json();
      ({ models, limits } = known);
      find("limits").textContent = `JPEG, PNG, WebP, TIFF, HEIC and others, up to ${limits.bytes / 1e6} MB and ${Math.round(limits.pixels / 1e6)} megapixels`;
      find("keeping").textContent = `Pictures stay on this server for ${Math.max(1, Math.round(known.keep_seconds / 60))} minutes, and go nowhere else.`;
      if (known.ready) break;
      banner("The server is loading its model; a moment.");
    } catch (error) {
      banner(`${error.message} Trying again.`);
    }
    await new Promise((resolve) => setTimeout(resolve, 1500));
  }
  banner("");
  find("model").replaceChildren(...models.map((one) => new Option(WORDS[one.name] ?? one.use ?? one.name, one.name)));
  for (const option of find("model").options) option.text ||= option.value;
  restoreSettings();
  settingsChanged();
}

find("settings").addEventListener("change", settingsChanged);
find("settings").addEventListener("submit", (event) => event.preventDefault());
for (const name of ["choose", "take"]) {
  find(name).addEventListener("change", (event) => {
    add([...event.target.files]);
    event.target.value = "";
  });
}
find("enlarge-all").addEventListener("click", () => pictures.filter((one) => !one.isWorking && one.facts.state !== "done").forEach((one) => one.enlarge()));
find("clear").addEventListener("click", () => [...pictures].forEach((one) => one.remove()));
find("zip").addEventListener("click", async (event) => {
  event.target.disabled = true;
  try {
    const done = pictures.filter((one) => one.facts.state === "done");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await zip(await Promise.all(done.map(async (one) => ({ name: one.resultName, blob: await one.result() })))));
    link.download = "pictures_enlarged.zip";
    link.click();
  } catch (error) {
    banner(error.message);
  }
  event.target.disabled = false;
});
document.addEventListener("paste", (event) => event.clipboardData.files.length && add([...event.clipboardData.files]));
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.toggle("dragging", name === "dragenter" || name === "dragover");
    if (name === "drop") add([...event.dataTransfer.files]);
  });
}
// Before the server is ready: what is chosen meanwhile comes after it, and is neither shown twice nor forgotten.
(load() ?? []).forEach(show);
changed();
await start();
