// Mixes the desk's lights in the browser while a fader moves: the server's mix, which follows, is the same picture, but
// has to travel. What is mixed lies in #desk-lights, one picture for each light (`Desk.shown`).
(() => {
  const LINGER = 1500; // milliseconds that the faders are watched after a touch: the dial moves them from the server
  const toLinear = Float32Array.from({ length: 256 }, (_, level) => {
    const share = level / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const STEPS = 4095; // of the table back to sRGB
  const toSrgb = Uint8ClampedArray.from({ length: STEPS + 1 }, (_, step) => {
    const light = step / STEPS;
    return 255 * (light <= 0.0031308 ? 12.92 * light : 1.055 * light ** (1 / 2.4) - 0.055);
  });
  const decoded = new WeakMap();
  let drawn = "", until = 0, changed = 0, looking = false, total = new Float32Array(0), picture = null, held = null;

  // Levels of a light at the size the mix is shown at: more pixels would only take longer.
  const pixels = (image, width, height) => {
    const known = decoded.get(image);
    if (known?.width === width && known.height === height) return known.data;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, width, height);
    const data = context.getImageData(0, 0, width, height);
    decoded.set(image, data);
    return data.data;
  };

  const sizeOf = (shown, image) => {
    const { naturalWidth: width, naturalHeight: height } = image;
    const room = Math.min(shown.offsetWidth / width, shown.offsetHeight / height) * devicePixelRatio;
    const scale = room > 0 ? Math.min(1, room) : 1;
    return [Math.round(width * scale), Math.round(height * scale)];
  };

  const number = (id) => Number(document.querySelector(`#${id} input[type=number]`)?.value ?? 0);
  const ticked = (id) => Boolean(document.querySelector(`#${id} input[type=checkbox]`)?.checked);
  const tint = (id) => {
    const colour = document.querySelector(`#${id} input[type=color]`)?.value ?? "#ffffff";
    return [1, 3, 5].map((at) => toLinear[parseInt(colour.slice(at, at + 2), 16)]);
  };

  // As Stack.weights: what is muted, or not solo where one is, is off.
  const faders = (images) => {
    const all = images.map((image) => {
      const name = image.dataset.light;
      return { image, strength: number(`fader-${name}`), colour: tint(`colour-${name}`),
        muted: ticked(`mute-${name}`), solo: ticked(`solo-${name}`) };
    });
    const alone = all.some((one) => one.solo);
    const gain = 2 ** number("exposure");
    return all.filter((one) => !one.muted && (one.solo || !alone) && one.strength > 0)
      .map(({ image, strength, colour }) => ({ image, weight: colour.map((part) => gain * strength * part) }));
  };

  const canvasOver = (shown, width, height) => {
    let canvas = document.getElementById("mix-live");
    if (!canvas || canvas.parentElement !== shown.parentElement) {
      canvas?.remove();
      canvas = document.createElement("canvas");
      canvas.id = "mix-live";
      shown.parentElement.append(canvas);
    }
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    canvas.style.cssText = `display: block; position: absolute; pointer-events: none; left: ${shown.offsetLeft}px;` +
      `top: ${shown.offsetTop}px; width: ${shown.offsetWidth}px; height: ${shown.offsetHeight}px;` +
      `object-fit: ${getComputedStyle(shown).objectFit}`;
    return canvas;
  };

  const draw = (shown, images) => {
    const [width, height] = sizeOf(shown, images[0]);
    const context = canvasOver(shown, width, height).getContext("2d");
    if (picture?.width !== width || picture.height !== height) {
      picture = context.createImageData(width, height);
      total = new Float32Array(3 * width * height);
      for (let at = 3; at < picture.data.length; at += 4) picture.data[at] = 255;
    }
    total.fill(0.5);
    for (const { image, weight } of faders(images)) add(pixels(image, width, height), weight);
    const out = picture.data;
    for (let from = 0, to = 0; from < total.length; from += 3, to += 4) {
      out[to] = toSrgb[Math.min(STEPS, total[from]) | 0];
      out[to + 1] = toSrgb[Math.min(STEPS, total[from + 1]) | 0];
      out[to + 2] = toSrgb[Math.min(STEPS, total[from + 2]) | 0];
    }
    context.putImageData(picture, 0, 0);
  };

  const add = (levels, weight) => {
    // A table for each colour: level -> light of this fader, in steps of the table back.
    const [red, green, blue] = weight.map((part) => toLinear.map((light) => light * part * STEPS));
    for (let from = 0, to = 0; to < total.length; from += 4, to += 3) {
      total[to] += red[levels[from]];
      total[to + 1] += green[levels[from + 1]];
      total[to + 2] += blue[levels[from + 2]];
    }
  };

  // Draws what the faders say now, unless that is drawn already; the first look only takes note of where they stand.
  // True if it drew.
  const look = () => {
    const images = [...document.querySelectorAll("#desk-lights img")];
    const shown = document.querySelector("#mix img");
    if (!shown || !images.length || !images.every((image) => image.complete && image.naturalWidth)) return false;
    const state = JSON.stringify(faders(images).map(({ image, weight }) => [image.dataset.light, weight]));
    if (state === drawn) return false;
    const known = drawn !== "";
    if (known) {
      draw(shown, images);
      changed = performance.now();
    }
    drawn = state;
    return known;
  };

  // The page's own handlers take several frames: they hear of a moved fader once the mix of it is on the screen, and
  // before anything else that happens to the page.
  const release = () => {
    const target = held;
    held = null;
    target?.dispatchEvent(Object.assign(new Event("input", { bubbles: true }), { released: true }));
  };
  const hold = (event) => {
    event.stopImmediatePropagation();
    if (!held) requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(release)));
    held = event.target;
  };

  const keepLooking = () => {
    look();
    looking = performance.now() < until;
    if (looking) requestAnimationFrame(keepLooking);
  };

  const watch = (event) => {
    if (event.released) return;
    if (held && event.type !== "pointermove" && (event.type !== "input" || event.target !== held)) release();
    if (!event.target.closest?.("#mix-tab")) return;
    until = performance.now() + LINGER;
    if (event.type === "input" && look()) hold(event);
    if (!looking) keepLooking();
  };
  for (const type of ["pointerdown", "pointermove", "pointerup", "keydown", "input", "change", "click", "focusout"]) {
    document.addEventListener(type, watch, true);
  }
  addEventListener("resize", () => document.getElementById("mix-live")?.remove());

  // Decoded before the first touch; and the server's own mix, once nothing has moved for a while, takes its place back.
  document.addEventListener("load", (event) => {
    if (event.target.closest?.("#desk-lights")) {
      const row = document.getElementById(`row-${event.target.dataset.light}`);
      row?.style.setProperty("--thumb", `url(${event.target.src})`);
      const shown = document.querySelector("#mix img");
      if (shown) pixels(event.target, ...sizeOf(shown, event.target));
      drawn = "";
      look();
    } else if (event.target.closest?.("#mix")) {
      const settle = () => {
        const rest = 400 - (performance.now() - changed);
        if (rest > 0) setTimeout(settle, rest);
        else document.getElementById("mix-live")?.remove();
      };
      settle();
    }
  }, true);
})();
