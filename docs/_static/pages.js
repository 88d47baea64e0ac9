// a click on a picture shows it in full size
document.addEventListener("DOMContentLoaded", () => {
  for (const image of document.querySelectorAll("article img:not(.sd-card-img-top)")) {
    if (image.closest("a") === null) {
      image.addEventListener("click", () => window.open(image.src));
    }
  }
});
