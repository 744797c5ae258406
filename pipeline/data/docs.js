// Leaves only what has every word of the search in it.
const search = document.getElementById("search");
search.addEventListener("input", () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const article of document.querySelectorAll("article")) {
    const text = article.textContent.toLowerCase();
    article.hidden = !words.every((word) => text.includes(word));
    const entry = document.querySelector(`nav li[data-of="${CSS.escape(article.id)}"]`);
    if (entry) entry.hidden = article.hidden;
  }
});
