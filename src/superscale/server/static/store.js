// What survives a reload: the list of pictures (localStorage) and the pictures themselves (IndexedDB).

const LIST = "superscale.pictures";

const opened = new Promise((resolve) => {
  const request = indexedDB.open("superscale", 1);
  request.onupgradeneeded = () => request.result.createObjectStore("pictures");
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => resolve(null); // a private window may have none: pictures are then forgotten at a reload
});

async function table(mode) {
  return (await opened)?.transaction("pictures", mode).objectStore("pictures");
}

/** Keep a picture. */
export async function keep(key, blob) {
  (await table("readwrite"))?.put(blob, key);
}

/** A kept picture, or undefined. */
export async function kept(key) {
  const request = (await table("readonly"))?.get(key);
  if (!request) return undefined;
  return new Promise((resolve) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => resolve(undefined);
  });
}

/** Forget a picture. */
export async function forget(key) {
  (await table("readwrite"))?.delete(key);
}

/** Keep plain values under a name. */
export function save(value, name = LIST) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // full or forbidden: nothing is lost but the list after a reload
  }
}

/** The values kept under a name. */
export function load(name = LIST) {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null;
  }
}
