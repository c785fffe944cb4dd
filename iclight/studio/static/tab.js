// What a reload must not lose: the tab's own token, by which the server knows it again, and its form.
// Both lie in sessionStorage: they are this tab's alone, and go with it, or by "Forget all of it".
(() => {
  const read = (key) => { try { return sessionStorage.getItem(key); } catch { return null; } };
  const write = (key, value) => { try { sessionStorage.setItem(key, value); } catch { /* private windows: no memory */ } };
  let token = read("iclight-tab");
  if (!/^[0-9a-f]{32}$/.test(token ?? "")) {
    token = [...crypto.getRandomValues(new Uint8Array(16))].map((one) => one.toString(16).padStart(2, "0")).join("");
    write("iclight-tab", token);
  }
  const ask = window.fetch;
  window.fetch = (target, options = {}) => {
    const address = new URL(target instanceof Request ? target.url : target, location.href);
    if (address.origin !== location.origin) return ask(target, options);
    const headers = new Headers(options.headers ?? (target instanceof Request ? target.headers : undefined));
    headers.set("x-iclight-tab", token);
    return ask(target, { ...options, headers });
  };
  let ready = false; // what the page begins with must not replace what is kept before that was read
  window.iclight = {
    keep: (values) => { if (ready) write("iclight-form", JSON.stringify(values)); },
    kept: () => { setTimeout(() => { ready = true; }, 1500); return read("iclight-form") ?? ""; },
    forget: () => { sessionStorage.clear(); location.reload(); },
  };
})();
