// Before and after, on top of each other: a line between them, zoom and pan by mouse, touch and keyboard.

const STEP = 1.5;
const PAN_PX = 60;

/** A view of two pictures by their addresses; `before` may be null, where the browser cannot show it. */
export function compare(template, before, after) {
  const root = template.content.cloneNode(true).firstElementChild;
  const stage = root.querySelector(".stage");
  const images = { before: root.querySelector(".before"), after: root.querySelector(".after") };
  const line = root.querySelector(".line");
  const range = root.querySelector("input");
  const view = { scale: 1, fit: 1, x: 0, y: 0, divide: 0.5, width: 1, height: 1, isFitted: true };

  function place() {
    const { scale, x, y, width, height } = view;
    for (const image of Object.values(images)) {
      image.style.width = `${width}px`;
      image.style.height = `${height}px`;
      image.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
      image.classList.toggle("pixels", scale * devicePixelRatio > 2);
    }
    const at = stage.clientWidth * view.divide;
    line.style.left = `${at}px`;
    images.after.style.clipPath = images.before.hidden ? "none" : `inset(0 0 0 ${Math.max(0, (at - x) / scale)}px)`;
    root.querySelector(".zoom-now").textContent = `${Math.round(100 * scale * devicePixelRatio)} %`;
    range.value = Math.round(100 * view.divide);
  }

  function bound(position, shown, room) {
    return shown <= room ? (room - shown) / 2 : Math.min(0, Math.max(room - shown, position));
  }

  function settle() {
    view.x = bound(view.x, view.width * view.scale, stage.clientWidth);
    view.y = bound(view.y, view.height * view.scale, stage.clientHeight);
    place();
  }

  function zoomTo(scale, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
    const next = Math.min(Math.max(scale, view.fit), Math.max(8, 2 * view.fit));
    view.x = x - ((x - view.x) * next) / view.scale;
    view.y = y - ((y - view.y) * next) / view.scale;
    view.scale = next;
    view.isFitted = next === view.fit;
    settle();
  }

  function fit() {
    view.fit = Math.min(stage.clientWidth / view.width, stage.clientHeight / view.height, 1);
    zoomTo(view.fit);
  }

  function pan(x, y) {
    view.x += x;
    view.y += y;
    settle();
  }

  function divideAt(x) {
    view.divide = Math.min(1, Math.max(0, x / stage.clientWidth));
    place();
  }

  const keys = {
    "+": () => zoomTo(view.scale * STEP),
    "=": () => zoomTo(view.scale * STEP),
    "-": () => zoomTo(view.scale / STEP),
    0: fit,
    1: () => zoomTo(1 / devicePixelRatio),
    ArrowLeft: () => pan(PAN_PX, 0),
    ArrowRight: () => pan(-PAN_PX, 0),
    ArrowUp: () => pan(0, PAN_PX),
    ArrowDown: () => pan(0, -PAN_PX),
  };
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  range.addEventListener("input", () => divideAt((stage.clientWidth * range.value) / 100));
  root.querySelector(".in").addEventListener("click", keys["+"]);
  root.querySelector(".out").addEventListener("click", keys["-"]);
  root.querySelector(".fit").addEventListener("click", fit);
  root.querySelector(".one").addEventListener("click", keys[1]);
  stage.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && document.activeElement !== stage) return; // the page scrolls
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    zoomTo(view.scale * Math.exp(-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  drag(stage, line, { divideAt, pan, zoomBy: (factor, x, y) => zoomTo(view.scale * factor, x, y) });

  new ResizeObserver(() => (view.isFitted ? fit() : settle())).observe(stage);
  images.after.addEventListener("load", () => {
    view.width = images.after.naturalWidth;
    view.height = images.after.naturalHeight;
    fit();
  });
  images.before.addEventListener("error", () => alone());
  function alone() {
    for (const one of [images.before, line, ...root.querySelectorAll(".tag"), root.querySelector(".divide")]) one.hidden = true;
    place();
  }
  if (before) images.before.src = before;
  else alone();
  images.after.src = after;
  return root;
}

/** One finger or the mouse moves the line, or what is behind it; two fingers zoom. */
function drag(stage, line, { divideAt, pan, zoomBy }) {
  const pointers = new Map();
  let movesLine = false;
  const local = (event) => {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, local(event));
    movesLine = event.target === line || line.contains(event.target);
  });
  stage.addEventListener("pointermove", (event) => {
    const from = pointers.get(event.pointerId);
    if (!from) return;
    const to = local(event);
    if (pointers.size === 2) {
      const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const factor = Math.hypot(to.x - other.x, to.y - other.y) / Math.max(1, Math.hypot(from.x - other.x, from.y - other.y));
      zoomBy(factor, (to.x + other.x) / 2, (to.y + other.y) / 2);
      pan((to.x - from.x) / 2, (to.y - from.y) / 2);
    } else if (movesLine) divideAt(to.x);
    else pan(to.x - from.x, to.y - from.y);
    pointers.set(event.pointerId, to);
  });
  for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, (event) => pointers.delete(event.pointerId));
}
