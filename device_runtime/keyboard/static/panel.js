// The panel: what this keyboard knows, and the switches over it. It never shows text, and is never sent any.

import { field } from "./field.js";
import { get, post } from "./service.js";

const READ_EVERY_MS = 5000;
const DAY_S = 86400;
const WIDE = matchMedia("(min-width: 68rem)");

const panel = document.getElementById("panel");
const toggle = document.getElementById("panel-toggle");
const status = document.getElementById("panel-status");
const wipeDialog = document.getElementById("wipe-dialog");
const withKey = document.getElementById("with-key");
const switches = [...panel.querySelectorAll('[role="switch"]')];

const count = new Intl.NumberFormat("en");
const day = new Intl.DateTimeFormat("en", { dateStyle: "medium" });
const moment = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

let latest = 0;
let onKnowledge = () => {};
let onWiped = () => {};

export function start(handlers) {
  ({ onKnowledge, onWiped } = handlers);
  setInterval(() => document.hidden || update(), READ_EVERY_MS); // another process may have moved a switch
  return update();
}

export function update() {
  return follow(() => get("knowledge"));
}

// Shows the newest answer only: one that was overtaken would move a switch back.
async function follow(ask, done = "", after = () => {}) {
  const request = ++latest;
  try {
    const knowledge = await ask();
    after();
    if (request !== latest) return;
    show(knowledge);
    if (done || status.classList.contains("trouble")) tell(done);
  } catch (error) {
    if (request === latest) tell(error.message, true);
  }
}

function tell(sentence, isTrouble = false) {
  status.textContent = sentence;
  status.classList.toggle("trouble", isTrouble);
}

function show(knowledge) {
  const { switches: on, held, done } = knowledge;
  for (const each of switches) each.checked = on[each.name];
  figure("messages", count.format(held.messages));
  figure("words", count.format(held.words));
  figure("stored", bytes(held.num_bytes));
  figure("expiry", expiry(held));
  figure("trained", count.format(done.trained));
  figure("reported", count.format(done.reported));
  figure("up", bytes(done.bytes_up));
  figure("last", last(done));
  figure("model", knowledge.model_version);
  figure("privacy", knowledge.privacy);
  showTerms(knowledge.terms);
  onKnowledge(knowledge);
}

function figure(name, value) {
  const element = panel.querySelector(`[data-figure="${name}"]`);
  if (element.textContent !== String(value)) element.textContent = value;
}

function showTerms(terms) {
  const rows = terms.flatMap(({ about, told }) => [row("dt", about), row("dd", told)]);
  document.getElementById("terms").replaceChildren(...rows);
}

function row(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

function bytes(number) {
  if (number < 1000) return `${number} B`;
  const [scaled, unit] = number < 1e6 ? [number / 1e3, "kB"] : [number / 1e6, "MB"];
  return `${scaled < 10 ? scaled.toFixed(1) : Math.round(scaled)} ${unit}`;
}

function expiry(held) {
  if (held.oldest_expires_at === null) return "Nothing is logged.";
  const days = Math.round((held.oldest_expires_at - Date.now() / 1000) / DAY_S);
  const left = days < 1 ? "within a day" : `in ${days} ${days === 1 ? "day" : "days"}`;
  return `The oldest message expires by itself ${left}, on ${day.format(held.oldest_expires_at * 1000)}.`;
}

function last(done) {
  if (done.last_trained_at === null) return "It has never trained on what you typed.";
  return `It trained last on ${moment.format(done.last_trained_at * 1000)}.`;
}

function open() {
  // Beside the text where there is room, and over it, with the focus kept inside, where there is not.
  if (WIDE.matches) panel.show();
  else panel.showModal();
  toggle.setAttribute("aria-expanded", "true");
  document.getElementById("panel-title").focus();
  tell("");
  update();
}

function close() {
  panel.close();
}

panel.addEventListener("close", () => {
  toggle.setAttribute("aria-expanded", "false");
  field().focus();
});
panel.addEventListener("keydown", (event) => {
  if (event.key === "Escape") close(); // a dialog that is not modal leaves this to us
});
toggle.addEventListener("click", () => (panel.open ? close() : open()));
document.getElementById("panel-close").addEventListener("click", close);
WIDE.addEventListener("change", () => panel.open && close());
document.addEventListener("visibilitychange", () => document.hidden || update());

for (const each of switches) {
  each.addEventListener("change", async () => {
    const wanted = each.checked;
    await follow(() => post("switches", { [each.name]: wanted }), `${each.getAttribute("aria-label")} is ${wanted ? "on" : "off"}.`);
    if (status.classList.contains("trouble")) each.checked = !wanted;
  });
}

document.getElementById("wipe").addEventListener("click", () => {
  withKey.checked = false;
  wipeDialog.returnValue = "cancel";
  wipeDialog.showModal();
});
wipeDialog.addEventListener("close", () => {
  if (wipeDialog.returnValue !== "wipe") return;
  follow(() => post("wipe", { with_key: withKey.checked }), "Everything was deleted.", onWiped);
});
