// The field that is typed in: the message, or one of the two examples of fields that no keyboard may learn from.

const CLOSES_UP = /^[.,?!:;]$/;

const fields = [...document.querySelectorAll(".field")];
let current = fields[0];
let spaceAddedAt = -1; // where the cursor stood after a suggestion's own space

export function field() {
  return current;
}

export function choose(id) {
  current = fields.find((each) => each.id === id);
  for (const each of fields) each.hidden = each !== current;
}

// What a keyboard may know of a field: the marks that its page gave it.
export function kind() {
  if (current.type === "password") return "password";
  if (current.autocomplete === "one-time-code") return "one_time_code";
  return "text";
}

export function isSensitive() {
  return kind() !== "text";
}

export function beforeCursor() {
  return current.value.slice(0, current.selectionStart);
}

export function replace(from, to, text) {
  current.focus();
  current.setSelectionRange(from, to);
  if (from === to && text === "") return;
  // execCommand keeps the browser's undo; setRangeText serves where it is gone.
  const done = text ? document.execCommand("insertText", false, text) : document.execCommand("delete");
  if (!done) {
    current.setRangeText(text, from, to, "end");
    current.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

export function clear() {
  replace(0, current.value.length, "");
}

// Puts a word with its space into the text. A space that follows already is used, so that none is doubled.
export function insertWord(word, numTyped) {
  const cursor = current.selectionStart;
  const spaceFollows = current.value[current.selectionEnd] === " ";
  replace(cursor - numTyped, current.selectionEnd + (spaceFollows ? 1 : 0), `${word} `);
  spaceAddedAt = current.selectionStart;
}

// Types characters; punctuation closes up to a word that was taken.
export function type(text) {
  if (!closeUp(text)) replace(current.selectionStart, current.selectionEnd, text);
}

export function erase() {
  current.focus();
  spaceAddedAt = -1;
  document.execCommand("delete"); // a whole character, however many code points it has
}

function closeUp(text) {
  const cursor = current.selectionStart;
  const closes = CLOSES_UP.test(text) && spaceAddedAt === cursor && current.selectionEnd === cursor;
  spaceAddedAt = -1;
  if (closes) replace(cursor - 1, cursor, `${text} `);
  return closes;
}

for (const each of fields) {
  each.addEventListener("beforeinput", (event) => {
    if (!event.isComposing && closeUp(event.data ?? "")) event.preventDefault();
  });
}
