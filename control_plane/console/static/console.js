"use strict";
// What is live on a page: its parts come as server-sent events, rendered and escaped by the server.

const policy = window.trustedTypes
  ? trustedTypes.createPolicy("daalu", { createHTML: (html) => html })
  : { createHTML: (html) => html };

const inViewersZone = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function localise(root) {
  for (const each of root.querySelectorAll("time[datetime]")) {
    each.textContent = inViewersZone.format(new Date(each.dateTime));
  }
}

function replace(name, html) {
  const place = document.querySelector(`[data-part="${CSS.escape(name)}"]`);
  if (!place) return false;
  place.innerHTML = policy.createHTML(html);
  localise(place);
  return true;
}

// A browser has six connections to a host, and an open page holds one: a hidden one lets go of it.
function follow(live) {
  const stream = { now: streamOf(live) };
  document.addEventListener("visibilitychange", () => {
    stream.now.close();
    if (!document.hidden) stream.now = streamOf(live);
  });
}

function streamOf(live) {
  const banner = document.getElementById("offline");
  const expected = new Set([...live.querySelectorAll("[data-part]")].map((each) => each.dataset.part));
  let isFirst = true;
  const stream = new EventSource(live.dataset.live);
  stream.onopen = () => { banner.hidden = true; isFirst = true; };
  stream.onerror = () => { banner.hidden = false; };
  stream.addEventListener("over", () => { stream.close(); location.reload(); });
  stream.onmessage = (event) => {
    const parts = JSON.parse(event.data);
    const names = Object.keys(parts);
    // Another role has other parts: then the page is another.
    const isOther = names.some((name) => !expected.has(name)) || (isFirst && names.length < expected.size);
    if (isOther) { stream.close(); location.reload(); return; }
    isFirst = false;
    for (const name of names) replace(name, parts[name]);
  };
  return stream;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(text);
    button.textContent = "Selected: copy it now";
  }
});

localise(document);
const live = document.querySelector("[data-live]");
if (live) follow(live);
