"use strict";
// The chat. What is said is kept here and nowhere else, and goes out whole with each question.

const ask = document.getElementById("ask");
const talk = document.getElementById("talk");
const nothingSaid = document.getElementById("nothing-said");
const talkState = document.getElementById("talk-state");
const sendButton = document.getElementById("send");
const stopButton = document.getElementById("stop");
const FIGURES_TRIES = 20;
const FIGURES_EVERY_MS = 300;

let said = [];
let underWay = null;

function place(role) {
  const item = document.createElement("li");
  item.className = `said ${role}`;
  const who = document.createElement("span");
  who.className = "label";
  who.textContent = role === "user" ? "You" : "Answer";
  const text = document.createElement("p");
  text.className = "text";
  const figures = document.createElement("div");
  item.append(who, text, figures);
  talk.append(item);
  nothingSaid.hidden = true;
  return { text, figures };
}

function problem(at, words) {
  const line = document.createElement("p");
  line.className = "error";
  line.textContent = words;
  at.figures.before(line);
}

// Whole events of a stream: [name, data].
async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const events = rest.split("\n\n");
    rest = events.pop();
    for (const event of events) {
      let name = "message";
      let data = "";
      for (const line of event.split("\n")) {
        if (line.startsWith("event: ")) name = line.slice(7);
        else if (line.startsWith("data: ")) data += line.slice(6);
      }
      if (data) yield [name, data];
    }
  }
}

async function showFigures(at, callId) {
  for (let tried = 0; tried < FIGURES_TRIES; tried += 1) {
    const answer = await fetch(`/console/try/calls/${encodeURIComponent(callId)}`);
    if (answer.status === 200) {
      at.figures.innerHTML = policy.createHTML(await answer.text());
      return;
    }
    await new Promise((done) => { setTimeout(done, FIGURES_EVERY_MS); });
  }
  at.figures.textContent = "This call is not on record yet.";
}

// Raises AbortError where it is stopped.
async function converse(fields, at, stop) {
  const heard = { text: "", callId: null, isWhole: false };
  at.heard = heard;
  const answer = await fetch(ask.action, { method: "POST", body: new URLSearchParams(fields), signal: stop.signal });
  if (answer.redirected) { location.reload(); return; }
  if (!answer.ok) {
    const page = new DOMParser().parseFromString(policy.createHTML(await answer.text()), "text/html");
    problem(at, page.querySelector("main p:not(.brand)")?.textContent ?? `The console answered ${answer.status}.`);
    return;
  }
  for await (const [name, data] of eventsOf(answer.body)) {
    if (data === "[DONE]") { heard.isWhole = true; continue; }
    const value = JSON.parse(data);
    if (name === "call") heard.callId = value;
    else if (name === "refused") { problem(at, value); return; }
    else if (value.error) { problem(at, value.error.message); return; }
    else {
      heard.text += value.choices?.[0]?.delta?.content ?? "";
      at.text.textContent = heard.text;
    }
  }
  if (!heard.isWhole) problem(at, "The answer broke off.");
}

ask.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (underWay) return;
  const form = new FormData(ask);
  const text = form.get("text");
  const question = { role: "user", content: text };
  place("user").text.textContent = text;
  const at = place("assistant");
  form.delete("text");
  form.set("messages", JSON.stringify([...said, question]));
  const stop = new AbortController();
  underWay = stop;
  sendButton.disabled = true;
  stopButton.hidden = false;
  talkState.textContent = "An answer is coming.";
  ask.elements.text.value = "";
  try {
    await converse(form, at, stop);
  } catch (error) {
    if (error.name !== "AbortError") problem(at, "No connection to the control plane.");
  } finally {
    underWay = null;
    sendButton.disabled = false;
    stopButton.hidden = true;
    talkState.textContent = stop.signal.aborted ? "Stopped." : "The answer has ended.";
  }
  if (!at.text.isConnected) return;
  const heard = at.heard;
  if (heard.text) said.push(question, { role: "assistant", content: heard.text });
  ask.elements.text.focus();
  if (heard.callId) {
    try {
      await showFigures(at, heard.callId);
    } catch {
      at.figures.textContent = "What it took cannot be shown now.";
    }
  }
});

stopButton.addEventListener("click", () => { underWay?.abort(); });

document.getElementById("anew").addEventListener("click", () => {
  underWay?.abort();
  said = [];
  talk.replaceChildren();
  nothingSaid.hidden = false;
  ask.elements.text.focus();
});

ask.elements.text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  ask.requestSubmit();
});
