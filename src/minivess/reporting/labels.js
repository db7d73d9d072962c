// Remembers in this browser which regions were looked at.
const run = document.querySelector(".regions").dataset.run;
for (const box of document.querySelectorAll("input[data-region]")) {
  const key = `minivess ${run} ${box.dataset.region}`;
  const show = () => box.closest("li").classList.toggle("done", box.checked);
  try { box.checked = localStorage.getItem(key) === "1"; } catch { /* not allowed for a local file: then it is forgotten */ }
  show();
  box.addEventListener("change", () => {
    show();
    try { localStorage.setItem(key, box.checked ? "1" : "0"); } catch { /* see above */ }
  });
}
