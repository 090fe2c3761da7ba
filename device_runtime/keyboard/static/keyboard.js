// The page: fields, strip, keys and panel brought together, and what is sent.

import * as input from "./field.js";
import * as keys from "./keys.js";
import * as panel from "./panel.js";
import { post } from "./service.js";
import * as strip from "./strip.js";

const KEPT_MESSAGES = 30;
const HIDDEN_TEXT = "••••••••";
const NOTICES = {
  password: "Never suggested from, never logged: this is a password field.",
  one_time_code: "Never suggested from, never logged: this field is for a one-time code.",
  incognito: "Incognito: nothing you type is logged.",
};

const root = document.documentElement;
const status = document.getElementById("status");
const notice = document.getElementById("notice");
const sent = document.getElementById("sent");
const sendButton = document.getElementById("send");
const themeButton = document.getElementById("theme");
const maxChars = Number(document.getElementById("text").dataset.maxChars);

let on = null; // the switches, as last read
let told = "state"; // what the status line is about: the state, an outcome, saved keystrokes or a stopped predictor

function tell(about, sentence, isTrouble = false) {
  told = about;
  if (status.textContent !== sentence) status.textContent = sentence;
  status.classList.toggle("trouble", isTrouble);
}

function tellState() {
  if (input.isSensitive()) tell("state", "What this field holds stays in it.");
  else if (!on) tell("state", "Your words stay on this machine.");
  else if (!on.consent) tell("state", "Logging is off. Your words stay here.");
  else if (on.incognito) tell("state", "Nothing is logged while incognito.");
  else if (on.paused) tell("state", "Logging is paused.");
  else tell("state", "What you send is logged on this device only.");
}

function showNotice() {
  const kind = input.kind();
  const sentence = NOTICES[kind] ?? (on?.incognito ? NOTICES.incognito : "");
  notice.hidden = !sentence;
  if (notice.textContent !== sentence) notice.textContent = sentence;
  root.classList.toggle("incognito", Boolean(on?.incognito));
}

function changed() {
  const isEmpty = input.field().value.trim() === "";
  sendButton.disabled = isEmpty;
  if (!isEmpty && told === "outcome") tellState(); // the outcome still stands below the message
  keys.updateShift();
  strip.refresh();
}

function addSent(text) {
  const item = document.createElement("li");
  const bubble = document.createElement("p");
  bubble.className = "bubble";
  bubble.textContent = text;
  const outcome = document.createElement("p");
  outcome.className = "outcome";
  item.append(bubble, outcome);
  sent.append(item);
  while (sent.children.length > KEPT_MESSAGES) sent.firstElementChild.remove();
  sent.hidden = false;
  sent.scrollTop = sent.scrollHeight;
  return outcome;
}

async function send() {
  const text = input.field().value.trim().toWellFormed();
  const field = input.kind();
  if (!text) return;
  if (text.length > maxChars) {
    tell("outcome", `A message may have ${maxChars} characters, this one has ${text.length}.`, true);
    return;
  }
  // What a sensitive field holds does not even go to this machine's own server.
  const isSensitive = input.isSensitive();
  const outcome = addSent(isSensitive ? HIDDEN_TEXT : text);
  input.clear();
  try {
    const answer = await post("messages", { text: isSensitive ? "" : text, field });
    outcome.textContent = answer.sentence;
    tell("outcome", answer.sentence);
  } catch (error) {
    outcome.textContent = "Not logged.";
    tell("outcome", error.message, true);
  }
  sent.scrollTop = sent.scrollHeight;
  panel.update();
}

function setDark(isDark) {
  root.dataset.theme = isDark ? "dark" : "light";
  themeButton.setAttribute("aria-pressed", String(isDark));
}

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
themeButton.setAttribute("aria-pressed", String(prefersDark.matches));
prefersDark.addEventListener("change", () => {
  if (!root.dataset.theme) themeButton.setAttribute("aria-pressed", String(prefersDark.matches));
});
themeButton.addEventListener("click", () => setDark(themeButton.getAttribute("aria-pressed") !== "true"));

strip.listen({
  onTrouble: (sentence) => {
    if (sentence) tell("stopped", sentence, true);
    else if (told === "stopped") tellState();
  },
  onTaken: (saved) => tell("saved", `${saved} ${saved === 1 ? "keystroke" : "keystrokes"} saved`),
});

document.addEventListener("input", (event) => {
  if (event.target === input.field()) changed();
});
// Moves of the cursor without a change of the text.
document.addEventListener("selectionchange", () => {
  if (document.activeElement !== input.field() || input.isSensitive()) return;
  keys.updateShift();
  strip.refresh();
});
document.addEventListener("keydown", (event) => {
  const inText = event.target === input.field();
  if (!inText || event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
sendButton.addEventListener("pointerdown", (event) => event.preventDefault());
sendButton.addEventListener("click", send);

for (const radio of document.querySelectorAll('[name="kind"]')) {
  radio.addEventListener("change", () => {
    input.choose(radio.value);
    showNotice();
    tellState();
    changed();
  });
}

// Who points at a kind wants to type next; who walks through them with arrows does not yet.
document.querySelector(".kinds").addEventListener("click", (event) => {
  if (event.target.tagName === "SPAN") setTimeout(() => input.field().focus());
});

document.getElementById("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(input.isSensitive() ? "" : input.field().value);
  tell("outcome", "Copied.");
});
document.getElementById("clear").addEventListener("click", () => input.clear());

function forgetSent() {
  sent.replaceChildren();
  sent.hidden = true;
  strip.askAgain(); // personal words are gone, too
}

function heed(knowledge) {
  const before = on;
  on = knowledge.switches;
  showNotice();
  if (!before || JSON.stringify(before) !== JSON.stringify(on)) {
    if (told === "state") tellState();
    if (before && before.personal !== on.personal) strip.askAgain();
  }
}

keys.start(send);
changed();
panel.start({ onKnowledge: heed, onWiped: forgetSent });
