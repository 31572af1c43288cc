# Five small studies and what R makes of them: lme4's lmer, aov, TukeyHSD, t.test and p.adjust.
#
#   Rscript tests/analysis/statistics/r/make_values.R        (R 4.2.2, lme4 1.1-31)
#
# writes one CSV a study and values.csv beside this file. test_against_r.py compares.

suppressMessages(library(lme4))
options(contrasts = c("contr.sum", "contr.poly"), digits = 17)
here <- dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE)))
set.seed(20260101)

study <- function(blocks, launch_sd, noise_sd, spread = c(tp = 1, ep = 1, `tp+ep` = 1)) {
  rows <- expand.grid(max_concurrency = c(1, 8, 32), block = seq_len(blocks) - 1,
                      strategy = c("tp", "ep", "tp+ep"), model = c("A", "B"),
                      stringsAsFactors = FALSE)
  rows$server_group <- paste(rows$model, rows$strategy, rows$block, sep = ".")
  shift <- rnorm(blocks, 0, 0.05)[rows$block + 1]
  launches <- unique(rows$server_group)
  luck <- setNames(rnorm(length(launches), 0, launch_sd), launches)[rows$server_group]
  effect <- c(tp = 0, ep = 0.03, `tp+ep` = -0.08)[rows$strategy] + (rows$model == "B") * 0.2
  effect <- effect + 0.02 * (rows$strategy == "ep") * log2(rows$max_concurrency)
  noise <- rnorm(nrow(rows), 0, noise_sd * spread[rows$strategy])
  rows$output_throughput <- round(100 * rows$max_concurrency^0.8 * exp(effect + shift + luck + noise), 4)
  rows$workload <- "w"
  rows
}

studies <- list(
  balanced = study(4, 0.02, 0.02),
  unbalanced = { rows <- study(5, 0.02, 0.02); rows[sort(sample(nrow(rows), 0.85 * nrow(rows))), ] },
  heteroscedastic = study(5, 0.02, 0.015, c(tp = 1, ep = 2, `tp+ep` = 5)),
  launch_effect = study(6, 0.10, 0.01),
  missing_cells = {
    rows <- study(4, 0.03, 0.02)
    rows[!(rows$model == "B" & rows$strategy == "tp+ep" & rows$max_concurrency == 32), ]
  },
  no_launch_effect = study(5, 0, 0.05)
)

values <- list()
keep <- function(study, what, of, value)
  values[[length(values) + 1]] <<- data.frame(study = study, what = what, of = of, value = value)

one_way <- function(name, d, factor) {
  found <- anova(lm(d$output_throughput ~ d[[factor]]))
  for (i in 1:2) keep(name, c("f", "p")[i], factor, found[1, c("F value", "Pr(>F)")[i]])
  keep(name, "sum_sq", factor, found[1, "Sum Sq"])
  welch <- oneway.test(d$output_throughput ~ d[[factor]])
  keep(name, "welch_f", factor, unname(welch$statistic))
  keep(name, "welch_df", factor, unname(welch$parameter[2]))
  keep(name, "welch_p", factor, welch$p.value)
  keep(name, "kruskal_h", factor, unname(kruskal.test(d$output_throughput, d[[factor]])$statistic))
}

factorial <- function(name, d) {
  whole <- lm(output_throughput ~ (max_concurrency + strategy + model)^2, d)
  third <- drop1(whole, . ~ ., test = "F")
  rest <- deviance(whole) / df.residual(whole)
  for (term in attr(terms(whole), "term.labels")) {
    keep(name, "f_type_3", term, third[term, "F value"])
    # Type II: the term against the model of all terms that do not contain it.
    parts <- strsplit(term, ":")[[1]]
    containing <- Filter(function(t) all(parts %in% strsplit(t, ":")[[1]]),
                         attr(terms(whole), "term.labels"))
    without <- setdiff(attr(terms(whole), "term.labels"), containing)
    fit <- function(labels) lm(reformulate(if (length(labels)) labels else "1", "output_throughput"), d)
    less <- fit(without); more <- fit(c(without, term))
    df <- df.residual(less) - df.residual(more)
    keep(name, "f_type_2", term, (deviance(less) - deviance(more)) / df / rest)
  }
}

mixed <- function(name, d) {
  control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-14, maxfun = 1e6),
                         check.conv.singular = "ignore")
  fit <- lmer(log(output_throughput) ~ strategy * model + max_concurrency +
                strategy:max_concurrency + model:max_concurrency + (1 | server_group),
              d, REML = TRUE, control = control)
  variances <- as.data.frame(VarCorr(fit))$vcov
  keep(name, "launch_variance", "", variances[1])
  keep(name, "residual_variance", "", variances[2])
  term_of <- attr(getME(fit, "X"), "assign")
  labels <- attr(terms(fit), "term.labels")
  for (i in seq_along(labels)) {
    at <- which(term_of == i)
    beta <- fixef(fit)[at]
    keep(name, "mixed_f", labels[i], drop(beta %*% solve(as.matrix(vcov(fit))[at, at], beta)) / length(at))
  }
}

strata <- function(name, d) {
  keep_aov <- name %in% c("balanced", "heteroscedastic", "launch_effect")
  if (keep_aov) {
    found <- summary(aov(log(output_throughput) ~ strategy * model + (strategy + model) * max_concurrency +
                           Error(server_group), d))
    for (stratum in found) {
      table <- stratum[[1]]
      rest <- table["Residuals", "Df"]
      for (term in setdiff(trimws(rownames(table)), "Residuals")) {
        row <- which(trimws(rownames(table)) == term)
        keep(name, "aov_f", term, table[row, "F value"])
        keep(name, "aov_df_residual", term, rest)
      }
    }
  }
}

contrasts_of <- function(name, d, margin = log(1.03)) {
  tested <- list()
  for (model in levels(d$model)) for (load in levels(d$max_concurrency)) {
    here <- d[d$model == model & d$max_concurrency == load, ]
    for (other in c("ep", "tp+ep")) {
      both <- merge(here[here$strategy == other, ], here[here$strategy == "tp", ], by = "block")
      logs <- log(both$output_throughput.x / both$output_throughput.y)
      if (length(logs) < 3) next
      test <- t.test(logs)
      equal <- max(t.test(logs, mu = -margin, alternative = "greater")$p.value,
                   t.test(logs, mu = margin, alternative = "less")$p.value)
      tested[[length(tested) + 1]] <- data.frame(
        of = paste(model, load, other), ratio = exp(mean(logs)), ratio_low = exp(test$conf.int[1]),
        ratio_high = exp(test$conf.int[2]), p = test$p.value, equal = equal)
    }
  }
  all <- do.call(rbind, tested)
  for (i in seq_len(nrow(all))) {
    for (what in c("ratio", "ratio_low", "ratio_high", "p")) keep(name, paste0("compare_", what), all$of[i], all[i, what])
    for (method in c("BH", "holm")) {
      keep(name, paste0("p_adjusted_", method), all$of[i], p.adjust(all$p, method)[i])
      keep(name, paste0("p_equivalence_", method), all$of[i], p.adjust(all$equal, method)[i])
    }
  }
}

tukey <- function(name, d) {
  for (model in levels(d$model)) for (load in levels(d$max_concurrency)) {
    here <- d[d$model == model & d$max_concurrency == load, ]
    here$strategy <- droplevels(here$strategy)
    counts <- table(here$block)
    here <- here[here$block %in% names(counts)[counts == nlevels(here$strategy)], ]
    if (length(unique(here$block)) < 2) next
    here$block <- factor(here$block)
    found <- TukeyHSD(aov(log(output_throughput) ~ strategy + block, here), "strategy")$strategy
    for (pair in rownames(found)) for (what in colnames(found))
      keep(name, paste0("tukey_", sub(" ", "_", what)), paste(model, load, pair), found[pair, what])
  }
}

for (name in names(studies)) {
  d <- studies[[name]]
  write.csv(d, file.path(here, paste0(name, ".csv")), row.names = FALSE, quote = FALSE)
  for (column in c("max_concurrency", "model", "server_group")) d[[column]] <- factor(d[[column]])
  d$strategy <- factor(d$strategy, levels = c("tp", "ep", "tp+ep"))
  for (factor in c("max_concurrency", "strategy", "model")) one_way(name, d, factor)
  factorial(name, d)
  mixed(name, d)
  strata(name, d)
  contrasts_of(name, d)
  tukey(name, d)
}
out <- do.call(rbind, values)
out$value <- format(out$value, digits = 12, scientific = TRUE)
out$value <- trimws(sprintf("%.12g", as.numeric(out$value)))
write.csv(out, file.path(here, "values.csv"), row.names = FALSE, quote = FALSE)
