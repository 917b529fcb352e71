"use strict";
(() => {
  const filter = document.getElementById("filter");
  const words = document.getElementById("words");
  const found = document.getElementById("found");
  const green = document.querySelector("details.green");
  const wasOpen = green !== null && green.open;
  const rows = [...document.querySelectorAll(".grid tbody tr")];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const boxes = [...filter.querySelectorAll("input[type=checkbox]")];

  function show() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const outcomes = boxes.filter((box) => box.checked).map((box) => box.value);
    let count = 0;
    rows.forEach((row, n) => {
      const isShown = wanted.every((word) => texts[n].includes(word)) &&
        (!outcomes.length || outcomes.some((each) => row.querySelector(`td.${each}`)));
      row.hidden = !isShown;
      count += isShown;
    });
    const asked = wanted.length > 0 || outcomes.length > 0;
    if (green) green.open = asked || wasOpen;
    found.textContent = asked ? `${count} of ${rows.length} cases` : `${rows.length} cases`;
  }

  filter.hidden = false;
  filter.addEventListener("submit", (event) => event.preventDefault());
  filter.addEventListener("input", show);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && event.target.tagName !== "INPUT") {
      event.preventDefault();
      words.focus();
    } else if (event.key === "Escape" && event.target === words) {
      words.value = "";
      show();
    }
  });
  show();
})();
