// Keeps what is live on a page up to date, for as long as somebody looks. The page says the same without it.
"use strict";
(() => {
  const region = document.querySelector("[data-live]");
  if (!region) return;
  const every = 1000 * Number(region.dataset.live);
  const title = document.title;
  const rows = () => [...region.querySelectorAll("[data-row]")].map((each) => each.dataset.row);
  const seen = new Set(rows());
  let tag = "", isPaused = false, timer = 0;

  const bar = document.createElement("div");
  bar.className = "live";
  const pause = document.createElement("button");
  pause.type = "button";
  pause.setAttribute("aria-label", "Pause updates of this page");
  pause.setAttribute("aria-pressed", "false");
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  bar.append(pause, said);
  region.before(bar);
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    if (!isPaused) look();
  });
  document.addEventListener("visibilitychange", () => document.hidden || look());

  function say(words) {
    if (said.textContent !== words) said.textContent = words;
  }

  function put(fresh) {
    const at = document.activeElement;
    const href = region.contains(at) ? at.getAttribute("href") : null;
    region.replaceChildren(...fresh.childNodes);
    if (href) [...region.querySelectorAll("a[href]")].find((each) => each.getAttribute("href") === href)?.focus({ preventScroll: true });
    const fresher = region.hasAttribute("data-news") ? rows().filter((each) => !seen.has(each)).length : 0;
    for (const each of region.querySelectorAll("[data-row]")) if (!seen.has(each.dataset.row)) each.classList.add("fresh");
    document.title = fresher ? `(${fresher}) ${title}` : title;
    say(fresher ? `${fresher} used since you opened this page` : "");
  }

  async function look() {
    clearTimeout(timer);
    const selected = getSelection();
    const isBusy = selected && !selected.isCollapsed && region.contains(selected.anchorNode);
    if (!isPaused && !document.hidden && !isBusy) {
      try {
        const headers = tag ? { "If-None-Match": tag } : {};
        const answer = await fetch(location.href, { headers, cache: "no-store", redirect: "error" });
        if (answer.ok) {
          tag = answer.headers.get("ETag") || "";
          const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-live]");
          if (fresh) put(fresh);
        } else if (answer.status !== 304) {
          say(`Not up to date: the sidecar answers ${answer.status}.`);
        }
      } catch {
        say("Not up to date: the sidecar does not answer.");
      }
    }
    clearTimeout(timer);
    timer = setTimeout(look, every);
  }
  timer = setTimeout(look, every);
})();
