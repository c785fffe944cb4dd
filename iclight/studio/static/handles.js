// Handles that are dragged: a ring around the photo for the light's angle, a spot on it, dials. Each sets number fields.
(() => {
  const field = (id) => document.querySelector(`#${id} input[type=number]`);
  const setter = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set;
  const set = (id, value) => {
    const box = field(id);
    if (!box || Number(box.value) === value) return;
    setter.call(box, String(value));
    box.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const value = (id, usual) => Number(field(id)?.value ?? usual);

  // Where the photo lies inside its box.
  const frame = () => {
    const picture = document.querySelector("#peek img") ?? document.querySelector("#image img");
    const home = document.getElementById("handles");
    if (!picture?.naturalWidth || !home) return null;
    const box = picture.getBoundingClientRect(), from = home.getBoundingClientRect();
    const scale = Math.min(box.width / picture.naturalWidth, box.height / picture.naturalHeight);
    const width = picture.naturalWidth * scale, height = picture.naturalHeight * scale;
    return { left: box.left - from.left + (box.width - width) / 2, top: box.top - from.top + (box.height - height) / 2, width, height, from };
  };

  const place = () => {
    const photo = frame();
    const ring = document.querySelector("#handles .ring"), spot = document.querySelector("#handles .spot");
    for (const one of [ring, spot]) one?.classList.toggle("ready", photo !== null);
    if (photo && ring) {
      const side = 0.82 * Math.min(photo.width, photo.height);
      ring.style.cssText = `left:${photo.left + (photo.width - side) / 2}px;top:${photo.top + (photo.height - side) / 2}px;` +
        `width:${side}px;height:${side}px;--reach:${side / 2}px;--angle:${value("knob-angle", 180)}`;
    }
    if (photo && spot) {
      const radius = Math.max(14, value(spot.dataset.size, 0.3) * Math.min(photo.width, photo.height));
      spot.style.cssText = `left:${photo.left + value(spot.dataset.x, 0.3) * photo.width - radius}px;` +
        `top:${photo.top + value(spot.dataset.y, 0.3) * photo.height - radius}px;width:${2 * radius}px;height:${2 * radius}px`;
    }
    for (const one of document.querySelectorAll(".ring, .dial")) {
      const angle = value(one.dataset.for, 180);
      one.style.setProperty("--angle", angle);
      one.setAttribute("aria-valuenow", String(Math.round(angle)));
    }
  };

  const turn = (one, event) => {
    const box = one.getBoundingClientRect();
    const angle = Math.atan2(box.top + box.height / 2 - event.clientY, event.clientX - box.left - box.width / 2);
    const degrees = Math.round(angle * 180 / Math.PI / 5) * 5;
    set(one.dataset.for, (degrees + 360) % 360);
    place();
  };
  const share = (number) => Math.round(100 * Math.min(1, Math.max(0, number))) / 100;
  const move = (one, event) => {
    const photo = frame();
    if (!photo) return;
    set(one.dataset.x, share((event.clientX - photo.from.left - photo.left) / photo.width));
    set(one.dataset.y, share((event.clientY - photo.from.top - photo.top) / photo.height));
    place();
  };
  const follow = (one, event) => (one.classList.contains("spot") ? move : turn)(one, event);

  let held = null;
  document.addEventListener("pointerdown", (event) => {
    held = event.target.closest?.(".ring, .dial, .spot");
    if (!held) return;
    event.preventDefault();
    held.focus();
    follow(held, event);
  });
  addEventListener("pointermove", (event) => { if (held) follow(held, event); });
  for (const type of ["pointerup", "pointercancel"]) addEventListener(type, () => { held = null; });
  document.addEventListener("keydown", (event) => {
    const one = event.target;
    const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!steps || !one.matches?.(".ring, .dial, .spot")) return;
    event.preventDefault();
    if (one.matches(".spot")) {
      set(one.dataset.x, share(value(one.dataset.x, 0.3) + 0.02 * steps[0]));
      set(one.dataset.y, share(value(one.dataset.y, 0.3) + 0.02 * steps[1]));
    } else {
      set(one.dataset.for, (value(one.dataset.for, 180) + 5 * (steps[0] - steps[1]) + 360) % 360);
    }
    place();
  });

  let due = 0;
  const soon = () => { due ||= requestAnimationFrame(() => { due = 0; place(); }); };
  for (const type of ["input", "change", "click", "load"]) document.addEventListener(type, soon, true);
  addEventListener("resize", soon);
  const watch = () => {
    new MutationObserver(soon).observe(document.body, { childList: true, subtree: true });
    setInterval(soon, 700); // numbers that the server sets change no element
  };
  if (document.body) watch(); else addEventListener("DOMContentLoaded", watch);
})();
