// A piece of a picture, enlarged before the whole is: where the pointer is, or where the arrow keys move the square.

import { ask } from "./api.js";

const PIECE = 128;
const REST_MS = 300;
const TALLEST_REM = 22;

/** The view for a picture; null where the browser cannot show it. `fields()`: how to enlarge. */
export async function tryout(template, blob, fields) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    return null;
  }
  const root = template.content.cloneNode(true).firstElementChild;
  const whole = root.querySelector(".try-whole img");
  const spot = root.querySelector(".spot");
  const canvas = root.querySelector("canvas");
  const after = root.querySelector(".try-after");
  const note = root.querySelector(".try-note");
  const piece = { width: Math.min(PIECE, bitmap.width), height: Math.min(PIECE, bitmap.height) };
  let at = { x: (bitmap.width - piece.width) / 2, y: (bitmap.height - piece.height) / 2 };
  let waiting;
  let asked = new AbortController();
  whole.src = URL.createObjectURL(blob);
  root.querySelector(".try-whole").style.width = `min(100%, ${(TALLEST_REM * bitmap.width) / bitmap.height}rem)`;
  canvas.width = piece.width;
  canvas.height = piece.height;
  if (bitmap.width <= PIECE && bitmap.height <= PIECE) spot.hidden = true;

  function moveTo(x, y) {
    at = {
      x: Math.round(Math.min(Math.max(0, x), bitmap.width - piece.width)),
      y: Math.round(Math.min(Math.max(0, y), bitmap.height - piece.height)),
    };
    spot.style.left = `${(100 * at.x) / bitmap.width}%`;
    spot.style.top = `${(100 * at.y) / bitmap.height}%`;
    spot.style.width = `${(100 * piece.width) / bitmap.width}%`;
    spot.style.height = `${(100 * piece.height) / bitmap.height}%`;
    canvas.getContext("2d").drawImage(bitmap, at.x, at.y, piece.width, piece.height, 0, 0, piece.width, piece.height);
    refresh();
  }

  function refresh() {
    clearTimeout(waiting);
    asked.abort();
    after.classList.add("busy");
    waiting = setTimeout(enlarge, REST_MS);
  }

  async function enlarge() {
    const { signal } = (asked = new AbortController());
    const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    const form = new FormData();
    for (const [name, value] of Object.entries({ ...fields(), format: "png" })) if (value !== "") form.append(name, value);
    form.append("image", blob, "piece.png");
    try {
      const answer = await ask("v1/upscale", { method: "POST", body: form, signal });
      const image = after.querySelector("img");
      URL.revokeObjectURL(image.src);
      image.src = URL.createObjectURL(await answer.blob());
      note.textContent = spot.hidden ? "" : "Touch or point at the picture to try another piece.";
      after.classList.remove("busy");
    } catch (error) {
      if (error.name === "AbortError") return;
      note.textContent = error.message;
      if (error.retryAfter) waiting = setTimeout(enlarge, 1000 * error.retryAfter);
    }
  }

  function pointed(event) {
    const box = whole.getBoundingClientRect();
    const scale = bitmap.width / box.width;
    moveTo((event.clientX - box.left) * scale - piece.width / 2, (event.clientY - box.top) * scale - piece.height / 2);
  }
  const surface = root.querySelector(".try-whole");
  surface.addEventListener("pointermove", (event) => (event.pointerType === "mouse" || event.buttons) && pointed(event));
  surface.addEventListener("pointerdown", pointed);
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  spot.addEventListener("keydown", (event) => {
    if (!step[event.key]) return;
    event.preventDefault();
    const [x, y] = step[event.key].map((one) => (one * PIECE) / 4);
    moveTo(at.x + x, at.y + y);
  });
  moveTo(at.x, at.y);
  return {
    root,
    size: { width: bitmap.width, height: bitmap.height },
    refresh,
    stop() {
      clearTimeout(waiting);
      asked.abort();
      bitmap.close();
      URL.revokeObjectURL(whole.src);
    },
  };
}
