// What Gradio's page leaves out: radios that arrow keys walk, names that screen readers hear, pasting, a held key.
(() => {
  const $ = (what) => document.querySelector(what);

  // Each radio has a name of its own: one a group makes it one stop of the Tab key, and arrow keys walk it.
  const radios = () => {
    for (const [at, group] of document.querySelectorAll("fieldset").entries()) {
      for (const radio of group.querySelectorAll("input[type=radio]")) {
        const name = group.id || `group-${at}`;
        if (radio.name !== name) {
          const checked = radio.checked;
          radio.name = name;
          radio.checked = checked;
        }
      }
    }
  };

  const name = (one, words) => { if (words && one.getAttribute("aria-label") !== words) one.setAttribute("aria-label", words); };
  const titleOf = (one) => one.closest(".block")?.querySelector("[data-testid=block-label]")?.innerText.trim() ?? "";

  // Names: a thumbnail's is its caption; a button's begins with what its box is called, and has all that it shows.
  const names = () => {
    for (const button of document.querySelectorAll(".thumbnail-item, .thumbnail-lg, .thumbnail-small")) {
      name(button, button.querySelector(".caption-label")?.innerText.trim());
      const picture = button.querySelector("img");
      if (picture?.alt) picture.alt = "";
    }
    for (const button of document.querySelectorAll("button.upload-container")) {
      name(button, `${titleOf(button)}: ${button.innerText.replace(/\s+/g, " ").trim()}`);
    }
    for (const button of document.querySelectorAll(".image-container > button:not(.upload-container)")) name(button, titleOf(button));
    for (const one of document.querySelectorAll("div[aria-label]:not([role])")) one.setAttribute("role", "img");
    for (const picture of document.querySelectorAll("footer img[alt]:not([alt=''])")) picture.alt = "";
  };

  // One stop of the Tab key for a strip and one for a slider, whose number takes arrow keys, too.
  const stops = () => {
    for (const strip of document.querySelectorAll(".strip")) {
      const buttons = [...strip.querySelectorAll("button")].filter((one) => one.offsetParent);
      const stop = buttons.find((one) => one === document.activeElement) ??
        buttons.find((one) => one.getAttribute("aria-pressed") === "true") ?? buttons[0];
      for (const one of buttons) one.tabIndex = one === stop ? 0 : -1;
    }
    for (const one of document.querySelectorAll(".reset-button, .slider_input_container input[type=range]")) one.tabIndex = -1;
  };
  document.addEventListener("keydown", (event) => {
    const strip = event.target.closest?.(".strip");
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!strip || !step) return;
    event.preventDefault();
    const buttons = [...strip.querySelectorAll("button")].filter((one) => one.offsetParent);
    buttons[(buttons.indexOf(event.target.closest("button")) + step + buttons.length) % buttons.length]?.focus();
    stops();
  });

  // Told when it changes, without the numbers that change all the time.
  let told = "";
  const tell = () => {
    const words = ($("#live .meter p")?.innerText ?? "").split(" · ").filter((part) => !/\d+ (s|秒)|step|步/.test(part)).join(" · ");
    const now = words || [$("#said")?.innerText, $("#about")?.innerText].filter(Boolean).join(" ");
    if (now === told) return;
    told = now;
    let place = document.getElementById("told");
    if (!place) {
      place = Object.assign(document.createElement("div"), { id: "told" });
      place.setAttribute("aria-live", "polite");
      place.style.cssText = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)";
      document.body.append(place);
    }
    place.textContent = now;
  };

  let due = false;
  const mend = () => { due = false; radios(); names(); stops(); tell(); };
  const watch = () => new MutationObserver(() => {
    if (!due) { due = true; setTimeout(mend, 120); }
  }).observe(document.body, { childList: true, subtree: true, characterData: true });
  if (document.body) watch(); else addEventListener("DOMContentLoaded", watch);

  // A picture in the clipboard is the photo.
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
    const box = $("#image input[type=file]");
    if (!file || !box) return;
    const files = new DataTransfer();
    files.items.add(file);
    box.files = files.files;
    box.dispatchEvent(new Event("change", { bubbles: true }));
  });

  // The photo in the result's place, for as long as B or the button is held.
  const shown = () => [...document.querySelectorAll("#results .preview img, #results .grid-container img, #compare .after")]
    .find((one) => one.offsetParent && one.getBoundingClientRect().width > 80);
  const hold = () => {
    const before = $("#compare .before"), place = shown();
    if (!before || !place || $("#photo-held")) return;
    const box = place.getBoundingClientRect();
    const over = Object.assign(new Image(), { id: "photo-held", src: before.src, alt: "" });
    Object.assign(over.style, { left: `${box.left}px`, top: `${box.top}px`, width: `${box.width}px`, height: `${box.height}px` });
    document.body.append(over);
  };
  const release = () => $("#photo-held")?.remove();
  const typing = (one) => one.closest?.("textarea, [contenteditable], input:not([type=radio], [type=checkbox], [type=range])");
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() === "b" && !event.ctrlKey && !event.metaKey && !event.altKey && !typing(event.target)) hold();
    if ([" ", "Enter"].includes(event.key) && event.target.id === "hold") hold();
  });
  document.addEventListener("keyup", release);
  document.addEventListener("pointerdown", (event) => { if (event.target.closest?.("#hold")) hold(); });
  for (const type of ["pointerup", "pointercancel", "blur"]) addEventListener(type, release);

  // In a narrow window the page goes to what has changed.
  document.addEventListener("click", (event) => {
    if (innerWidth > 820) return;
    if (event.target.closest?.("#relight, #vary")) $("#stage")?.scrollIntoView({ behavior: "smooth" });
    if (event.target.closest?.("#examples button")) $("#head")?.scrollIntoView({ behavior: "smooth" });
  });
})();
