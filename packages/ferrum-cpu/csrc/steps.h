/* The steps of optimizers. Arrays come by their id(): first all parameters, then all gradients,
   then the optimizer's state list by list. Each list has `count` arrays. */

int sgd_step(const uintptr_t *arrays, int64_t count, double lr, double momentum, double dampening,
             double weight_decay, int nesterov, int maximize);

/* The state is steps, exp_avgs, exp_avg_sqs, and with `amsgrad` max_exp_avg_sqs. */
int adam_step(const uintptr_t *arrays, int64_t count, double lr, double beta1, double beta2,
              double eps, double weight_decay, int amsgrad, int maximize, int decoupled);
