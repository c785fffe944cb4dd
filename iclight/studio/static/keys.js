// Ctrl+Enter (or Cmd+Enter) relights, Esc cancels.
(() => {
  const press = (id) => document.getElementById(id)?.click();
  const running = () => document.querySelector("#live .live") !== null;
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (running()) return;
      document.querySelector("#tabs [data-tab-id='relight-tab']")?.click();
      // What is being typed reaches the server with the click: a box hands its text over when it loses the focus.
      document.activeElement?.blur?.();
      setTimeout(() => press("relight"), 0);
    } else if (event.key === "Escape" && running() && !document.fullscreenElement) {
      press("cancel");
    }
  }, true);
})();
