"use strict";
// A picture's button opens it enlarged in a dialog.
{
  const dialog = document.getElementById("zoom");
  for (const opener of document.querySelectorAll("button.zoom")) opener.addEventListener("click", () => {
    const image = opener.querySelector("img"), large = dialog.querySelector("img");
    large.src = image.src;
    large.alt = image.alt;
    const seed = document.body.dataset.seed;
    dialog.querySelector("p").textContent = image.alt + (image.dataset.sample && seed ? `, seed ${seed}` : "");
    dialog.showModal();
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
}
